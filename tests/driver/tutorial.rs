//! The tutorial as the demo runs it, made to fit a test's own server and folder.

use std::fs;

use anyhow::{Result, ensure};
use shardlake_testkit::workspace_root;

use crate::Scene;

/// Creates and fills the tutorial's shard tables, and returns its statements.
pub fn tutorial_script(scene: &Scene) -> Result<String> {
    let demo = workspace_root().join("scripts/demo");
    scene.server.execute(&fs::read_to_string(demo.join("shards.sql"))?)?;
    let server = format!("'127.0.0.1', 'port' = '{}'", scene.server.port());
    let warehouse = format!("file://{}", scene.warehouse().display());
    let tutorial = fs::read_to_string(demo.join("tutorial.sql"))?;
    for place in ["'mysql', 'port' = '3306'", "file:///home/iceberg/warehouse"] {
        ensure!(tutorial.contains(place), "the tutorial has no {place}");
    }
    Ok(tutorial
        .replace("'mysql', 'port' = '3306'", &server)
        .replace("file:///home/iceberg/warehouse", &warehouse))
}
