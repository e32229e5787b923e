// What the page asks the server: JSON over HTTP, and the stream of live numbers.

const TOKEN_KEY = "shardlake.token";

/** A request that the server answered with an error. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(extra) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? { ...extra, Authorization: `Bearer ${token}` } : { ...extra };
}

/** Keeps a token for this tab; without one, forgets it. */
export function setToken(token) {
  if (token) {
    sessionStorage.setItem(TOKEN_KEY, token);
  } else {
    sessionStorage.removeItem(TOKEN_KEY);
  }
}

/** The JSON of an answer. Throws a ServerError with the server's own words. */
export async function ask(path, { method = "GET", body } = {}) {
  const response = await fetch(path, {
    method,
    headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = text === "" ? null : JSON.parse(text);
  } catch {
    answer = { errors: [text] };
  }
  if (!response.ok) {
    throw new ServerError(response.status, reason(answer, response.status));
  }
  return answer;
}

/** The last error says what happened; those before it only name the layer. */
function reason(answer, status) {
  const errors = answer?.errors;
  if (!Array.isArray(errors) || errors.length === 0) {
    return `the server answered with status ${status}`;
  }
  const last = String(errors.at(-1)).replace(/^<Exception on server side:\s*/, "").replace(/\s*End of exception on server side>$/, "");
  return last.trim() || String(errors[0]);
}

/**
 * Follows the live numbers until `signal` ends it. `onNews` gets `{overview, job}`; `onState` gets `"live"`, or why it is
 * not live. After a lost connection it tries again, first soon, then every two seconds.
 */
export async function follow({ job, signal, onNews, onState }) {
  let pause = 200;
  while (!signal.aborted) {
    try {
      const path = job ? `/api/v1/events?job=${encodeURIComponent(job)}` : "/api/v1/events";
      const response = await fetch(path, { headers: headers({ Accept: "text/event-stream" }), signal });
      if (!response.ok) {
        const answer = await response.json().catch(() => null);
        throw new ServerError(response.status, reason(answer, response.status));
      }
      pause = 200;
      for await (const news of events(response.body)) {
        onState("live");
        onNews(news);
      }
      throw new Error("the server ended the connection");
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      onState(error.message, error.status);
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, 2_000);
    }
  }
}

/** The data of server-sent events, parsed. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
      if (data.length > 0) {
        yield JSON.parse(data.join("\n"));
      }
    }
  }
}
