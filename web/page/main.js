// The frame of the page: which view is shown, the live numbers, and what buttons do.

import { el, patch } from "./element.js";
import { ServerError, ask, follow, setToken } from "./server.js";
import { jobs, overview } from "./views/overview.js";
import { job, needsTables } from "./views/job.js";
import { logs } from "./views/logs.js";
import { SqlView } from "./views/sql.js";

/** Tables of the lake are read from their metadata: not every second. */
const TABLES_INTERVAL_MS = 3_000;
const LOG_INTERVAL_MS = 1_000;

const content = document.getElementById("content");
const state = { live: null, connection: "connecting…", status: 0, tables: null, log: null, message: null };
const sql = new SqlView(() => render());
let followed = null;

/** Where the address after `#` leads: `/jobs/ID/TAB` and so on. */
function route() {
  const [page = "", id = "", tab = ""] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { page, id, tab: tab || "graph" };
}

function view() {
  const { page, id, tab } = route();
  if (state.status === 401 || state.status === 403) {
    return tokenForm();
  }
  if (page === "sql") {
    return sql.tree();
  }
  if (page === "logs") {
    return logs(state.log);
  }
  if (!state.live) {
    return el("p", { class: "notice" }, state.connection);
  }
  if (page === "jobs" && id) {
    return job(state.live.job, id, tab, state.tables, state.live.overview);
  }
  return page === "jobs" ? jobs(state.live.overview) : overview(state.live.overview);
}

function tokenForm() {
  return el("form", { class: "panel token", "data-action": "token" },
    el("h1", null, "This server asks for a token"),
    el("label", { for: "token" }, "Token"),
    el("input", { id: "token", type: "password", autocomplete: "off", required: true }),
    el("button", { type: "submit" }, "Use it in this tab"),
    el("p", null, state.connection));
}

function render() {
  const { page } = route();
  const message = state.message && el("p", { class: `notice ${state.message.kind}`, role: "alert" }, state.message.text);
  patch(content, [message, el("div", { class: `view view-${page || "overview"}`, "data-key": location.hash }, view())]);
  document.querySelectorAll("header nav a").forEach((link) => {
    const isCurrent = link.hash.replace(/^#\//, "") === page;
    if (isCurrent) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  });
  const connection = document.getElementById("connection");
  const isLive = state.connection === "live";
  connection.className = isLive ? "good" : "bad";
  const text = isLive ? `live, version ${state.live?.overview.version ?? ""}` : state.connection;
  if (connection.textContent !== text) {
    connection.textContent = text;
  }
  sql.attach();
}

function startFollowing() {
  followed?.abort();
  followed = new AbortController();
  const { page, id } = route();
  follow({
    job: page === "jobs" && id ? id : null,
    signal: followed.signal,
    onNews: (news) => {
      state.live = news;
      render();
    },
    onState: (text, status = 0) => {
      if (text !== state.connection || status !== state.status) {
        state.connection = text;
        state.status = status;
        render();
      }
    },
  });
}

/** Asks again and again for what the live numbers do not hold, as long as it is shown. */
async function poll(interval, isShown, question) {
  for (;;) {
    if (isShown() && !document.hidden) {
      await question().catch((error) => {
        state.connection = error.message;
      });
      render();
    }
    await new Promise((done) => setTimeout(done, interval));
  }
}

const actions = {
  async cancel({ id, name }) {
    if (!confirm(`Cancel the job ${name}? What is not committed is read again when it is submitted again.`)) {
      return;
    }
    await ask(`/jobs/${id}?mode=cancel`, { method: "PATCH" });
    state.message = { kind: "good", text: `The job ${name} is being cancelled.` };
  },
  async savepoint({ id, name }) {
    const folder = prompt("Folder for the savepoint (empty: as configured)", "");
    if (folder === null) {
      return;
    }
    const body = folder ? { "target-directory": folder, drain: false } : { drain: false };
    await ask(`/jobs/${id}/stop`, { method: "POST", body });
    state.message = { kind: "good", text: `The job ${name} is being stopped with a savepoint.` };
  },
  run() {
    sql.run();
  },
  stop() {
    sql.stop();
  },
  mode({ mode }) {
    sql.setMode(mode);
  },
  example() {
    sql.showExample();
  },
};

document.addEventListener("click", (event) => {
  const target = event.target.closest("button[data-action]");
  if (!target) {
    return;
  }
  state.message = null;
  Promise.resolve(actions[target.dataset.action]?.(target.dataset))
    .catch((error) => {
      state.message = { kind: "bad", text: error.message };
    })
    .finally(render);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.dataset.action === "token") {
    setToken(document.getElementById("token").value.trim());
    state.status = 0;
    startFollowing();
  }
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && route().page === "sql") {
    event.preventDefault();
    sql.run();
  }
});

window.addEventListener("hashchange", () => {
  state.tables = null;
  state.message = null;
  if (state.live) {
    state.live.job = null;
  }
  startFollowing();
  render();
  content.focus();
});

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const isDark = theme === "dark";
  const button = document.getElementById("theme");
  button.textContent = isDark ? "Light" : "Dark";
  button.setAttribute("aria-label", `Use ${isDark ? "light" : "dark"} colours`);
}

document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("shardlake.theme", theme);
  applyTheme(theme);
});

const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
applyTheme(localStorage.getItem("shardlake.theme") ?? preferred);
startFollowing();
render();
poll(TABLES_INTERVAL_MS, () => needsTables(route()), async () => {
  const { id } = route();
  try {
    const answer = await ask(`/api/v1/jobs/${encodeURIComponent(id)}/tables`);
    state.tables = route().id === id ? answer.tables : null;
  } catch (error) {
    if (error instanceof ServerError) {
      state.tables = [{ name: "", error: error.message }];
    } else {
      throw error;
    }
  }
});
poll(LOG_INTERVAL_MS, () => route().page === "logs", async () => {
  state.log = (await ask("/api/v1/logs?lines=500")).lines;
});
