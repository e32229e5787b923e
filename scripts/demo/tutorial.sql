SET execution.checkpointing.interval = 3s;

CREATE TABLE user_source (
    db_name STRING METADATA FROM 'database_name' VIRTUAL,
    table_name STRING METADATA VIRTUAL,
    `id` DECIMAL(20, 0) NOT NULL,
    name STRING, address STRING, phone_number STRING, email STRING,
    primary key (`id`) not enforced
  ) WITH (
    'connector' = 'mysql-cdc', 'hostname' = 'mysql', 'port' = '3306',
    'username' = 'root', 'password' = '123456',
    'database-name' = 'user_db_[0-9]+', 'table-name' = 'user_table_[0-9]+'
  );

CREATE TABLE all_users_sink (
    db_name STRING, table_name STRING,
    `id` DECIMAL(20, 0) NOT NULL,
    name STRING, address STRING, phone_number STRING, email STRING,
    primary key (db_name, table_name, `id`) not enforced
  ) WITH (
    'connector'='iceberg', 'catalog-name'='iceberg_catalog', 'catalog-type'='hadoop',
    'warehouse'='file:///home/iceberg/warehouse', 'format-version'='2'
  );

INSERT INTO all_users_sink select * from user_source;
SELECT * FROM all_users_sink;
