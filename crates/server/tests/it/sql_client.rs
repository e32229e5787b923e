//! The client of `shardlake sql --endpoint` sees what embedded mode sees.

use shardlake_server::{Answer, Credentials, GatewayClient};
use shardlake_sql::print::{CellFormat, JsonLines};

use crate::harness::Harness;

async fn lines(client: &mut GatewayClient, statement: &str) -> Vec<String> {
    let cells = CellFormat::new(client.configuration().time_zone());
    match client.execute(statement).await.unwrap() {
        Answer::Done(lines) | Answer::Submitted { lines, .. } => lines,
        Answer::Table(table) => {
            let text = JsonLines::new(&table.columns, cells).rows(&table.rows);
            text.lines().map(str::to_owned).collect()
        }
        Answer::Rows(mut result) => {
            let printer = JsonLines::new(&result.columns, cells);
            let mut all = Vec::new();
            while let Some(batch) = result.next().await {
                all.extend(printer.changes(&batch.unwrap()).lines().map(str::to_owned));
            }
            all
        }
        Answer::Help | Answer::Clear | Answer::Quit => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_results_and_mistakes_arrive_whole() {
    let harness = Harness::start().await;
    let settings = [("table.local-time-zone".to_owned(), "Asia/Tokyo".to_owned())];
    let mut client =
        GatewayClient::connect(&harness.url, &Credentials::default(), &settings).await.unwrap();
    assert_eq!(client.configuration().get("table.local-time-zone").as_deref(), Some("Asia/Tokyo"));
    let create = "CREATE TABLE gen (id BIGINT NOT NULL, amount DECIMAL(10, 2)) WITH ('connector'='datagen',\
                  'number-of-rows'='12000','fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='12000')";
    assert_eq!(lines(&mut client, create).await, ["[INFO] Execute statement succeeded."]);
    assert_eq!(client.object_names().await, ["gen"]);
    let rows = lines(&mut client, "SELECT id FROM gen").await;
    assert_eq!(rows.len(), 12_000);
    insta::assert_snapshot!(rows[11_999], @r#"{"op":"+I","id":12000}"#);
    let typed =
        lines(&mut client, "SELECT CAST(1.10 AS DECIMAL(10,2)) a, CAST(NULL AS STRING) b, TRUE c")
            .await;
    insta::assert_snapshot!(typed[0], @r#"{"op":"+I","a":1.10,"b":null,"c":true}"#);
    let warning = lines(&mut client, "SET 'no.such.key' = 'x'").await;
    assert!(warning[0].starts_with("[WARN]"), "{warning:?}");
    let error = client.execute("SELECT *\nFROM nosuch").await.err().unwrap();
    assert_eq!(error.line_and_column("SELECT *\nFROM nosuch"), Some((2, 6)));
    assert_eq!(error.code.as_str(), "SL0003");
    assert!(error.hint.is_some());
    assert!(matches!(client.execute("QUIT").await, Ok(Answer::Quit)));
    client.close().await;
    assert_eq!(harness.server.as_ref().unwrap().session_count(), 0);
    harness.stop().await;
}
