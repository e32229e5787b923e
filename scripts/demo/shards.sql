CREATE DATABASE user_db_1;  USE user_db_1;
CREATE TABLE user_table_1 (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT 'flink',
                           address VARCHAR(1024), phone_number VARCHAR(512), email VARCHAR(255));
INSERT INTO user_table_1 VALUES (11100,"user_11100","Shanghai","123567891234","user_11100@foo.com");
CREATE TABLE user_table_2 (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT 'flink',
                           address VARCHAR(1024), phone_number VARCHAR(512), email VARCHAR(255));
INSERT INTO user_table_2 VALUES (12100,"user_12100","Shanghai","123567891234","user_12100@foo.com");

CREATE DATABASE user_db_2;  USE user_db_2;
-- This shard is older than the others: it has no email.
CREATE TABLE user_table_1 (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT 'flink',
                           address VARCHAR(1024), phone_number VARCHAR(512));
INSERT INTO user_table_1 VALUES (21100,"user_21100","Shanghai","123567891234");
CREATE TABLE user_table_2 (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT 'flink',
                           address VARCHAR(1024), phone_number VARCHAR(512), email VARCHAR(255));
INSERT INTO user_table_2 VALUES (22100,"user_22100","Shanghai","123567891234","user_22100@foo.com");

ALTER USER 'root'@'localhost' IDENTIFIED BY '123456';
