-- Input of maxwell.jsonl: run on MySQL 8.0.12 (UTC, binlog_rows_query_log_events=ON, binlog_row_metadata=MINIMAL).
SET NAMES utf8mb4;
SET sql_mode = '';
DROP DATABASE IF EXISTS golden;
CREATE DATABASE golden CHARACTER SET utf8mb4;
USE golden;

CREATE TABLE numbers (
  id INT PRIMARY KEY,
  ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, su SMALLINT UNSIGNED, mi MEDIUMINT, mu MEDIUMINT UNSIGNED,
  ii INT, iu INT UNSIGNED, bi BIGINT, bu BIGINT UNSIGNED,
  f FLOAT, d DOUBLE, d10 DECIMAL(10,2), d20 DECIMAL(20,10), d65 DECIMAL(65,30), b1 BIT(1), b16 BIT(16), y YEAR
);
INSERT INTO numbers VALUES
  (1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0,
   -1.5, -2.25, -12345678.90, 0, -12345678901234567890123456789012345.123456789012345678901234567890, b'0', b'0', 1901),
  (2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615,
   3.4e38, 1.7976931348623157e308, 99999999.99, 0.0000001, 0, b'1', b'1010101010101010', 2155),
  (3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.10, 0.000001, 0.000000000000000000000000000001, b'1', b'1', 2024),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1e7, 1e7, 1, 123.456, 1, b'1', b'100', 2000),
  (6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.001, 0.001, -0.01, -0.0000000001, 1, b'1', b'100', 2000),
  (7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9999999, 0.00099, 10, 1234567890, 1, b'1', b'100', 2000),
  (8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.17549e-38, 2.2250738585072014e-308, 10, 1, 1, b'1', b'100', 2000),
  (9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0.0, 123456789.125, 10, 1, 1, b'1', b'100', 2000);

CREATE TABLE strings (
  id INT PRIMARY KEY,
  c CHAR(10), v VARCHAR(100), t TEXT, l VARCHAR(20) CHARACTER SET latin1, g VARCHAR(20) CHARACTER SET gbk,
  bin BINARY(4), vb VARBINARY(10), bl BLOB, e ENUM('one','two','dr"ei'), s SET('a','b','c'), j JSON
);
INSERT INTO strings VALUES
  (1, 'abc', 'it\'s "q" \\ / \t\n\r\b', 'tab\tnew\nnul\0bell\Z', 'caf€é', '中文', 'ab', 'xyz', x'00ff10', 'two', 'a,c',
   '{"k": 1, "a": [1, "x", null, true, 1.5, {"z": "ü\\n\\"q"}]}'),
  (2, '', '', '', '', '', '', '', '', 'dr"ei', '', '[]'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, 'ünï😀', '日本語 😀', REPEAT('long ', 100), 'x', 'y', x'00000000', x'00', REPEAT('z', 100), 'one', 'a,b,c', '"s"'),
  (5, 'x', CONVERT(x'7f' USING utf8mb4), '<a>&</a>', 'x', 'y', x'ffffffff', x'ff', x'ff', 'one', 'b', '1.5');

CREATE TABLE times (
  id INT PRIMARY KEY,
  d DATE, dt DATETIME, dt3 DATETIME(3), dt6 DATETIME(6), ts TIMESTAMP NULL, ts2 TIMESTAMP(2) NULL, ts6 TIMESTAMP(6) NULL,
  t TIME, t1 TIME(1), t6 TIME(6)
);
INSERT INTO times VALUES
  (1, '2024-02-29', '2024-02-29 23:59:59', '2024-02-29 23:59:59.123', '2024-02-29 23:59:59.000001', '2024-02-29 23:59:59',
   '2024-02-29 23:59:59.12', '2024-02-29 23:59:59.123456', '12:34:56', '12:34:56.7', '23:59:59.000001'),
  (2, '1000-01-01', '1000-01-01 00:00:00', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999', '1970-01-01 00:00:01',
   '2038-01-19 03:14:07.99', '2038-01-19 03:14:07.999999', '00:00:00', '00:00:00', '00:00:00'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, '0000-00-00', '0000-00-00 00:00:00', '2001-01-01', '2001-01-01', '0000-00-00 00:00:00', '2001-01-01', '2001-01-01',
   '01:02:03', '01:02:03', '01:02:03');

CREATE TABLE shapes (id INT PRIMARY KEY, p POINT, l LINESTRING, g GEOMETRY, m MULTIPOINT, c GEOMETRYCOLLECTION);
INSERT INTO shapes VALUES
  (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('LINESTRING(0 0,1.5 1,2 -2.25)'),
   ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0),(2 2,4 2,4 4,2 4,2 2))'),
   ST_GeomFromText('MULTIPOINT(0 0,1 1)'), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')),
  (2, NULL, NULL, ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))'), NULL, NULL),
  (3, ST_GeomFromText('POINT(-0.000001 1234567890.5)'), NULL,
   ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))'), NULL, NULL);

CREATE TABLE two_keys (b INT, A VARCHAR(10), v INT, w VARCHAR(10), PRIMARY KEY (A, b));
CREATE TABLE no_key (x INT, y VARCHAR(10));

BEGIN;
INSERT INTO two_keys VALUES (1, 'x', 1, 'w'), (2, 'y', 2, NULL);
UPDATE two_keys SET v = 10 WHERE b = 1;
UPDATE two_keys SET w = 'now', v = NULL WHERE b = 2;
UPDATE two_keys SET b = 3 WHERE b = 2;
INSERT INTO no_key VALUES (1, 'a');
UPDATE no_key SET y = NULL;
DELETE FROM two_keys WHERE b = 1;
COMMIT;
UPDATE strings SET e = 'one', s = 'b', j = '{"k": 2}' WHERE id = 1;
UPDATE numbers SET d10 = 1, f = 2 WHERE id = 3;
DELETE FROM strings WHERE id = 3;
SET SESSION binlog_row_image = MINIMAL;
UPDATE two_keys SET w = 'min' WHERE b = 3;
DELETE FROM two_keys WHERE b = 3;
