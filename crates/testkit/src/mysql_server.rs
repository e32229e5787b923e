//! A private MySQL server for one test: its own data folder, its own port, gone when dropped.
//!
//! The data folder is a copy of a template that is initialised once, so a start takes two seconds instead of six.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mysql_async::{Opts, OptsBuilder};
use tempfile::TempDir;

use crate::server_process::ServerProcess;
use crate::{Error, Package, Session, workspace_root};

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL itself.
    Mysql,
    /// MariaDB 10.11.
    Mariadb,
    /// MariaDB 11.8.
    Mariadb11,
}

impl Flavor {
    /// The one that `SHARDLAKE_SERVER` names, or MySQL.
    fn of_suite() -> Self {
        match env::var("SHARDLAKE_SERVER").as_deref() {
            Ok("mariadb") => Self::Mariadb,
            Ok("mariadb-11") => Self::Mariadb11,
            _ => Self::Mysql,
        }
    }

    /// Whether it is MariaDB.
    #[must_use]
    pub fn is_mariadb(self) -> bool {
        self != Self::Mysql
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    gtid: bool,
    sync_binlog: u32,
    server_id: u32,
    flags: Vec<String>,
    flavor: Flavor,
}

impl Default for ServerOptions {
    /// GTIDs on, nothing synced to disk, root without a password; the server that `SHARDLAKE_SERVER` names
    /// (`mariadb`, `mariadb-11`), or MySQL.
    fn default() -> Self {
        let flavor = Flavor::of_suite();
        Self { gtid: true, sync_binlog: 0, server_id: 1, flags: Vec::new(), flavor }
    }
}

impl ServerOptions {
    /// Starts the server with `gtid_mode=OFF`. MariaDB always has GTIDs.
    #[must_use]
    pub fn without_gtid(mut self) -> Self {
        self.gtid = false;
        self
    }

    /// Syncs the binlog every that many transactions; 1 is what production servers do.
    #[must_use]
    pub fn with_sync_binlog(mut self, transactions: u32) -> Self {
        self.sync_binlog = transactions;
        self
    }

    /// Sets `server_id`.
    #[must_use]
    pub fn with_server_id(mut self, server_id: u32) -> Self {
        self.server_id = server_id;
        self
    }

    /// Adds a flag of mysqld, such as `--binlog-row-image=MINIMAL`; a later flag wins over an earlier one.
    #[must_use]
    pub fn with_flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Takes this server. A test is skipped where its server cannot be had.
    #[must_use]
    pub fn with_flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = flavor;
        self
    }
}

/// A running server.
#[derive(Debug)]
pub struct MysqlServer {
    process: Option<ServerProcess>,
    package: Package,
    flavor: Flavor,
    options: ServerOptions,
    port: u16,
    folder: Option<TempDir>,
    session: Session,
}

impl MysqlServer {
    /// Starts a server and waits until it answers.
    pub fn start(options: ServerOptions) -> Result<Self, Error> {
        let flavor = options.flavor;
        let package = match flavor {
            Flavor::Mysql => Package::mysql()?,
            Flavor::Mariadb => Package::mariadb()?,
            Flavor::Mariadb11 => Package::mariadb_11()?,
        };
        let template = template(&package, flavor)?;
        let folder = tempfile::Builder::new()
            .prefix("shardlake-mysql-")
            .tempdir()
            .map_err(Error::io("make the server's folder"))?;
        let data = folder.path().join("data");
        copy_folder(&template, &data)?;
        if flavor.is_mariadb() {
            borrow_certificates(&data)?;
        }
        let port = free_port()?;
        let session = Session::open(connection_options(port, "root", ""));
        let folder = Some(folder);
        let mut server = Self { process: None, package, flavor, options, port, folder, session };
        server.start_again()?;
        Ok(server)
    }

    /// Always `127.0.0.1`.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whose server it is.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Where the server's programs lie, `mysqlbinlog` among them.
    #[must_use]
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The data folder, binlogs included.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder_path().join("data")
    }

    /// The process number of the running server, 0 when it is down.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().map_or(0, ServerProcess::id)
    }

    /// Runs one or several statements as root.
    pub fn execute(&self, sql: &str) -> Result<(), Error> {
        self.session.execute(sql)
    }

    /// Runs statements as root and returns all their rows as text; NULL reads `NULL`.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        self.session.query(sql)
    }

    /// Opens one more session as root.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session_of("root", "")
    }

    /// Opens a session of a user.
    #[must_use]
    pub fn session_of(&self, user: &str, password: &str) -> Session {
        Session::open(connection_options(self.port, user, password))
    }

    /// The end of the binlog, as file and offset, and the executed transactions.
    pub fn binlog_status(&self) -> Result<((String, u64), String), Error> {
        let (sql, gtids) = if self.flavor.is_mariadb() {
            ("SHOW MASTER STATUS", "SELECT @@GLOBAL.gtid_binlog_pos")
        } else {
            ("SHOW BINARY LOG STATUS", "SELECT @@GLOBAL.gtid_executed")
        };
        let gtids = self.query(gtids)?.concat().concat();
        let row = self.query(sql)?.concat();
        let offset = row.get(1).and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(((row.first().cloned().unwrap_or_default(), offset), gtids))
    }

    /// Creates a user who may read everything and follow the binlog.
    pub fn create_reader(&self, user: &str, password: &str) -> Result<(), Error> {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
        let name = format!("{}@'%'", quoted(user));
        self.execute(&format!("CREATE USER {name} IDENTIFIED BY {}", quoted(password)))?;
        self.execute(&format!(
            "GRANT SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, SHOW DATABASES ON *.* TO {name}"
        ))
    }

    /// Stops the server in order.
    pub fn stop(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(mut process) => process.stop(Duration::from_secs(30)),
            None => Ok(()),
        }
    }

    /// Ends the server at once, as a power cut would; [`start_again`](Self::start_again) brings it back.
    pub fn kill_dash_nine(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server in order, and starts it on the same port and data.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Starts a server that is down, on the same port and data, and waits until it answers.
    pub fn start_again(&mut self) -> Result<(), Error> {
        let mut words = self.package.command_line(program(self.flavor));
        words.extend(self.server_flags());
        let mut process = ServerProcess::start(&words, &self.log_path())?;
        self.session = self.session();
        let deadline = Instant::now() + Duration::from_secs(90);
        while self.session.execute("DO 1").is_err() {
            if process.has_ended() || Instant::now() > deadline {
                return Err(Error::failed("starting the server", self.last_log_lines()));
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        self.process = Some(process);
        Ok(())
    }

    fn server_flags(&self) -> Vec<String> {
        let folder = self.folder_path();
        let socket = folder.join("socket");
        let mut flags = base_flags(&self.package, self.flavor, &self.data_folder());
        flags.extend([
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--socket={}", socket.display()),
            format!("--pid-file={}", folder.join("pid").display()),
            format!("--tmpdir={}", folder.display()),
            "--secure-file-priv=".to_owned(),
            format!("--server-id={}", self.options.server_id),
            "--log-bin=binlog".to_owned(),
            "--binlog-format=ROW".to_owned(),
            "--binlog-row-image=FULL".to_owned(),
            format!("--sync-binlog={}", self.options.sync_binlog),
            format!(
                "--innodb-flush-log-at-trx-commit={}",
                if self.options.sync_binlog == 0 { 2 } else { 1 }
            ),
            "--performance-schema=OFF".to_owned(),
        ]);
        if self.flavor.is_mariadb() {
            flags.push("--max-recursive-iterations=1000000".to_owned());
            let data = self.data_folder();
            if data.join("ca.pem").is_file() {
                for (flag, file) in
                    [("ca", "ca.pem"), ("cert", "server-cert.pem"), ("key", "server-key.pem")]
                {
                    flags.push(format!("--ssl-{flag}={}", data.join(file).display()));
                }
            }
        } else {
            flags.push("--cte-max-recursion-depth=1000000".to_owned());
            flags.push("--mysqlx=OFF".to_owned());
            // Both said aloud: the default differs between versions.
            let mode = if self.options.gtid { "ON" } else { "OFF" };
            flags.push(format!("--gtid-mode={mode}"));
            flags.push(format!("--enforce-gtid-consistency={mode}"));
        }
        for flag in &self.options.flags {
            // MariaDB's compression of events stands in for MySQL's of transactions.
            if self.flavor.is_mariadb() && flag == "--binlog-transaction-compression=ON" {
                flags.push("--log-bin-compress=ON".to_owned());
                flags.push("--log-bin-compress-min-len=10".to_owned());
            } else {
                flags.push(flag.clone());
            }
        }
        flags
    }

    fn folder_path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }

    fn log_path(&self) -> PathBuf {
        self.folder_path().join("error.log")
    }

    fn last_log_lines(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for MysqlServer {
    fn drop(&mut self) {
        // Nothing of the data is needed again, so there is no reason to wait for an orderly end.
        drop(self.kill_dash_nine());
        if thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            drop(fs::remove_dir_all(folder.path().join("data")));
            let kept = folder.keep();
            report_kept(&kept.join("error.log"));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failed test's output is where this is looked for")]
fn report_kept(log: &Path) {
    eprintln!("the server's log was kept: {}", log.display());
}

fn program(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Mysql => "usr/sbin/mysqld",
        Flavor::Mariadb | Flavor::Mariadb11 => "usr/sbin/mariadbd",
    }
}

fn base_flags(package: &Package, flavor: Flavor, data: &Path) -> Vec<String> {
    let usr = package.root().join("usr");
    let share = share(package, flavor);
    let mut flags = vec![
        "--no-defaults".to_owned(),
        "--user=root".to_owned(),
        format!("--basedir={}", usr.display()),
        format!("--datadir={}", data.display()),
        format!("--lc-messages-dir={}", share.display()),
        format!("--character-sets-dir={}", share.join("charsets").display()),
    ];
    if flavor.is_mariadb() {
        flags.push("--innodb-use-native-aio=0".to_owned());
    }
    flags
}

/// Where a server's messages, character sets and system tables lie.
fn share(package: &Package, flavor: Flavor) -> PathBuf {
    let folder = if flavor == Flavor::Mariadb11 { "mariadb" } else { "mysql" };
    package.root().join("usr/share").join(folder)
}

fn connection_options(port: u16, user: &str, password: &str) -> Opts {
    let builder = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(Some(false));
    Opts::from(builder)
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io("find a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("find a free port"))?.port())
}

/// An initialised data folder in `.cache`, made once for each server version.
fn template(package: &Package, flavor: Flavor) -> Result<PathBuf, Error> {
    let cache = workspace_root().join(".cache");
    let name = match flavor {
        Flavor::Mysql => "mysql-template",
        Flavor::Mariadb => "mariadb-template",
        Flavor::Mariadb11 => "mariadb-11-template",
    };
    let template = cache.join(name);
    let packages = fs::read_to_string(package.root().join(".packages")).unwrap_or_default();
    let stamp = template.join(".packages");
    let is_ready = || fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == packages);
    if is_ready() {
        return Ok(template);
    }
    fs::create_dir_all(&cache).map_err(Error::io("make .cache"))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = fs::File::create(lock_path).map_err(Error::io("make the template's lock"))?;
    lock.lock().map_err(Error::io("lock the template"))?;
    if !is_ready() {
        let part = tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(&cache)
            .map_err(Error::io("make the template's folder"))?;
        let fresh = part.path().join("data");
        match flavor {
            Flavor::Mysql => initialise_mysql(package, &fresh)?,
            Flavor::Mariadb | Flavor::Mariadb11 => initialise_mariadb(package, flavor, &fresh)?,
        }
        fs::write(fresh.join(".packages"), packages).map_err(Error::io("stamp the template"))?;
        if template.exists() {
            fs::remove_dir_all(&template).map_err(Error::io("remove the old template"))?;
        }
        fs::rename(&fresh, &template).map_err(Error::io("put the template in its place"))?;
    }
    Ok(template)
}

fn initialise_mysql(package: &Package, data: &Path) -> Result<(), Error> {
    let mut command = package.command(program(Flavor::Mysql));
    command.args(base_flags(package, Flavor::Mysql, data)).arg("--initialize-insecure");
    run_initialiser(command, Stdio::null())?;
    // Each copy must become a server of its own.
    fs::remove_file(data.join("auto.cnf")).map_err(Error::io("remove the template's auto.cnf"))
}

fn initialise_mariadb(package: &Package, flavor: Flavor, data: &Path) -> Result<(), Error> {
    fs::create_dir_all(data.join("mysql")).map_err(Error::io("make the data folder"))?;
    let share = share(package, flavor);
    // The newer versions have the names of their own.
    let prefix = if flavor == Flavor::Mariadb { "mysql" } else { "mariadb" };
    let mut script =
        "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
            .to_owned();
    for name in ["system_tables.sql", "performance_tables.sql", "system_tables_data.sql"] {
        let name = format!("{prefix}_{name}");
        let text = fs::read_to_string(share.join(&name));
        script.push_str(&text.map_err(Error::io(format!("read {name}")))?);
    }
    let path = data.join(".bootstrap.sql");
    fs::write(&path, script).map_err(Error::io("write the bootstrap script"))?;
    let input = fs::File::open(&path).map_err(Error::io("open the bootstrap script"))?;
    let mut command = package.command(program(flavor));
    command.args(base_flags(package, flavor, data)).arg("--bootstrap");
    run_initialiser(command, Stdio::from(input))
}

/// MySQL makes certificates when it initialises a data folder, MariaDB does not: it gets those of MySQL's template, if
/// there is one. Without them it runs unencrypted.
fn borrow_certificates(data: &Path) -> Result<(), Error> {
    let from = workspace_root().join(".cache/mysql-template");
    for name in ["ca.pem", "server-cert.pem", "server-key.pem"] {
        if from.join(name).is_file() {
            fs::copy(from.join(name), data.join(name)).map_err(Error::io("copy a certificate"))?;
        }
    }
    Ok(())
}

fn run_initialiser(mut command: Command, input: Stdio) -> Result<(), Error> {
    let output = command.stdin(input).output().map_err(Error::io("initialise a data folder"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    Err(Error::failed("initialising a data folder", errors.join("\n")))
}

/// Copies with holes and, where the file system can, without copying at all.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    let mut command = Command::new("cp");
    command.args(["-a", "--reflink=auto", "--sparse=auto"]).arg(from).arg(to);
    let status = command.status().map_err(Error::io("copy the template"))?;
    if status.success() { Ok(()) } else { Err(Error::failed("copying the template", "see above")) }
}
