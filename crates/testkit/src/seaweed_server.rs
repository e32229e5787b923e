//! A private SeaweedFS for one test: an object store that speaks S3, and an Iceberg REST catalog.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::package::run_script;
use crate::server_process::ServerProcess;
use crate::{Error, workspace_root};

/// The one user that it knows.
const KEY_ID: &str = "admin";
const SECRET: &str = "sesame123";
const PATIENCE: Duration = Duration::from_secs(60);
/// The role whose credentials the catalog hands out.
const ROLE: &str = "arn:aws:iam::role/LakeRole";
const ROLES: &str = r#"{
  "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
          "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFyYWN0ZXJzLWxvbmc="},
  "policy": {"defaultEffect": "Deny", "storeType": "memory"},
  "policies": [{"name": "LakePolicy", "document": {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:*", "s3tables:*"], "Resource": ["*"]}]}}],
  "roles": [{"roleName": "LakeRole", "roleArn": "arn:aws:iam::role/LakeRole",
    "attachedPolicies": ["LakePolicy"], "trustPolicy": {"Version": "2012-10-17", "Statement": [
      {"Effect": "Allow", "Principal": {"Federated": "iceberg-catalog"},
       "Action": ["sts:AssumeRoleWithCredentials"]}]}}]
}"#;
/// Its parts also listen this far above their ports.
const GRPC_OFFSET: u16 = 10_000;

/// A running server.
#[derive(Debug)]
pub struct SeaweedServer {
    process: ServerProcess,
    program: PathBuf,
    master_port: u16,
    s3_port: u16,
    catalog_port: u16,
    ports: Vec<u16>,
    _folder: TempDir,
}

impl SeaweedServer {
    /// Starts it with an empty store and waits until it answers.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(None)
    }

    /// The same, with a REST catalog that hands out credentials of its own with each table.
    pub fn start_vending() -> Result<Self, Error> {
        Self::start_with(Some(ROLES))
    }

    fn start_with(roles: Option<&str>) -> Result<Self, Error> {
        let program = program()?;
        let folder = tempfile::Builder::new()
            .prefix("shardlake-seaweed-")
            .tempdir()
            .map_err(Error::io("make the server's folder"))?;
        let ports = free_ports(5)?;
        let [master_port, volume_port, filer_port, s3_port, catalog_port] = ports[..] else {
            return Err(Error::failed("starting SeaweedFS", "no free ports"));
        };
        let mut words = vec![
            "env".to_owned(),
            format!("AWS_ACCESS_KEY_ID={KEY_ID}"),
            format!("AWS_SECRET_ACCESS_KEY={SECRET}"),
            program.display().to_string(),
            "-logtostderr=true".to_owned(),
            "mini".to_owned(),
        ];
        words.push(format!("-dir={}", folder.path().display()));
        words.extend(
            ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false"]
                .map(str::to_owned),
        );
        words.extend(["-webdav=false", "-s3.port.lance=0"].map(str::to_owned));
        words.push(format!("-master.port={master_port}"));
        words.push(format!("-volume.port={volume_port}"));
        words.push(format!("-filer.port={filer_port}"));
        words.push(format!("-s3.port={s3_port}"));
        words.push(format!("-s3.port.iceberg={catalog_port}"));
        if let Some(roles) = roles {
            let file = folder.path().join("roles.json");
            std::fs::write(&file, roles).map_err(Error::io("write the roles"))?;
            words.push(format!("-s3.iam.config={}", file.display()));
            words.push(format!("-s3.iceberg.credentialRole={ROLE}"));
        }
        let process = ServerProcess::start(&words, &folder.path().join("log"))?;
        let mut server =
            Self { process, program, master_port, s3_port, catalog_port, ports, _folder: folder };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !self.process.has_ended() {
            if [self.s3_port, self.catalog_port].into_iter().all(answers) {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
        let words = log.lines().last().unwrap_or_default().to_owned();
        Err(Error::failed("starting SeaweedFS", words))
    }

    /// The options with which its buckets are reached. A bucket is made when something is written
    /// into it.
    #[must_use]
    pub fn s3_options(&self) -> Vec<(String, String)> {
        [
            ("s3.endpoint", format!("http://127.0.0.1:{}", self.s3_port)),
            ("s3.access-key-id", KEY_ID.to_owned()),
            ("s3.secret-access-key", SECRET.to_owned()),
            ("s3.region", "us-east-1".to_owned()),
            ("s3.path-style-access", "true".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// The address of the REST catalog.
    #[must_use]
    pub fn catalog_uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.catalog_port)
    }

    /// What the catalog takes as an OAuth2 credential.
    #[must_use]
    pub fn credential(&self) -> String {
        format!("{KEY_ID}:{SECRET}")
    }

    /// Makes a warehouse of the REST catalog: `s3://<name>/`.
    pub fn create_warehouse(&self, name: &str) -> Result<(), Error> {
        self.shell(&format!("s3tables.bucket -create -name {name} -account admin"))
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        self.shell(&format!("s3.bucket.create -name {name}"))
    }

    fn shell(&self, line: &str) -> Result<(), Error> {
        let mut shell = Command::new(&self.program)
            .args(["shell", &format!("-master=127.0.0.1:{}", self.master_port)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("run weed shell"))?;
        if let Some(mut input) = shell.stdin.take() {
            writeln!(input, "{line}").map_err(Error::io("talk to weed shell"))?;
        }
        let output = shell.wait_with_output().map_err(Error::io("run weed shell"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && !text.contains("error:") {
            return Ok(());
        }
        Err(Error::failed(format!("weed shell: {line}"), text))
    }
}

impl Drop for SeaweedServer {
    fn drop(&mut self) {
        // Its own ending waits for clients; there is nothing to lose.
        drop(self.process.kill());
        for port in &self.ports {
            for kind in ["filer", "s3", "filer-grpc", "s3-grpc", "volume-grpc", "master-grpc"] {
                for port in [*port, *port + GRPC_OFFSET] {
                    drop(std::fs::remove_file(format!("/tmp/seaweedfs-{kind}-{port}.sock")));
                }
            }
        }
    }
}

fn program() -> Result<PathBuf, Error> {
    let folder = workspace_root().join(".cache/seaweedfs");
    if folder.join(".complete").is_file() {
        return Ok(folder.join("weed"));
    }
    run_script("SeaweedFS", "get-seaweedfs.sh", &[])
}

/// Whether something on this port speaks HTTP.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = b"GET /v1/config HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
    let mut answer = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(request).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP"
}

/// Ports that are free, and so are those far above them.
fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let mut held = Vec::new();
    for _ in 0..1000 {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("find a free port"))?;
        let port = listener.local_addr().map_err(Error::io("find a free port"))?.port();
        let low = if port > u16::MAX - GRPC_OFFSET { port - GRPC_OFFSET } else { port };
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
        drop(listener);
        if let (Some(one), Some(two)) = (free(low), free(low + GRPC_OFFSET)) {
            held.push((low, one, two));
            if held.len() == count {
                return Ok(held.into_iter().map(|(port, _, _)| port).collect());
            }
        }
    }
    Err(Error::failed("finding free ports", "too few"))
}
