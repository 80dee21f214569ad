#!/usr/bin/env bash
# Records the log files beside this script again, on real servers. usage: record.sh DIR (a scratch folder)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
servers=$here/../../../../../../deploy/servers
dir=$(mkdir -p "$1" && cd "$1" && pwd)
port=23306

# Per server family: what starts it, a client, and the newest closed log.
sql() { bash "$servers/$kind.sh" sql "$dir/$name" -N -B --default-character-set=utf8mb4 $user "$@"; }
start() { kind=$1 name=$2 user=${4:-}; export "$3"; port=$((port + 1)); bash "$servers/$kind.sh" start "$dir/$name" $port || [ -n "$user" ]; }
stop() { bash "$servers/$kind.sh" stop "$dir/$name"; }
flush() { sql -e 'FLUSH BINARY LOGS'; }
record() { # FILE SQL...
  local file=$1; shift
  flush; (echo 'SET NAMES utf8mb4;'; for part; do echo "$part"; done) | sql; flush
  cp "$(ls "$dir/$name"/data/binlog.0* | tail -2 | head -1)" "$here/$file.binlog"
}

types='id BIGINT UNSIGNED PRIMARY KEY, i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, u16 SMALLINT UNSIGNED, i24 MEDIUMINT,
 u24 MEDIUMINT UNSIGNED, i32 INT, u32 INT UNSIGNED, i64 BIGINT, y YEAR, f FLOAT, d DOUBLE, n DECIMAL(20,6), m DECIMAL(65,30), b BIT(17),
 da DATE, ti TIME(3), dt DATETIME(6), ts TIMESTAMP(2) NULL, c CHAR(10), c4 CHAR(255), vl VARCHAR(20) CHARACTER SET latin1, v2 VARCHAR(300),
 tx TEXT, bi BINARY(5), vb VARBINARY(10), bl MEDIUMBLOB, e ENUM('\''a'\'','\''it'\'''\''s'\'','\''ü'\''), s SET('\''1'\'','\''2'\'','\''3'\'','\''4'\'','\''5'\'','\''6'\'','\''7'\'','\''8'\'','\''9'\'')'
schema() { # CHARSET MORE_COLUMNS
  echo "DROP DATABASE IF EXISTS d; CREATE DATABASE d CHARACTER SET $1; USE d;
CREATE TABLE types ($types, $2);
CREATE TABLE kp (name VARCHAR(20) NOT NULL, id INT NOT NULL, v INT, PRIMARY KEY (id, name(5)));
CREATE TABLE part (id INT PRIMARY KEY, v INT) PARTITION BY HASH(id) PARTITIONS 4;"
}
documents='CREATE TABLE doc (id INT PRIMARY KEY, a INT, t TEXT, j JSON, k JSON);'
work=$(cat "$here/work.sql")
work_json=$(cat "$here/work-json.sql")
definitions="SELECT table_name, column_name, column_type, is_nullable, IFNULL(character_set_name,'-'),
 CASE CONCAT(table_name,column_name) WHEN 'kpname' THEN 1 WHEN 'kpid' THEN 0 ELSE IF(column_key='PRI',0,'-') END, extra
 FROM information_schema.columns WHERE table_schema='d' AND table_name NOT IN ('wide','comp','kinds') ORDER BY table_name, ordinal_position"
contents() { # MORE_COLUMNS
  echo "USE d; SET time_zone='+00:00'; SET NAMES utf8mb4;
SELECT 'types',id,i8,u8,i16,u16,i24,u24,i32,u32,i64,y,f,d,n,m,b+0,da,ti,dt,ts,c,c4,vl,v2,tx,HEX(bi),HEX(vb),HEX(bl),e,s,g$1 FROM types ORDER BY id;
SELECT 'kp',name,id,v FROM kp ORDER BY id;
SELECT 'part',id,v FROM part ORDER BY id;"
}
select_documents="SELECT 'doc',id,a,t,j,k FROM doc ORDER BY id;"
kinds() { # MORE_COLUMNS
  echo "USE d; CREATE TABLE kinds (id INT PRIMARY KEY, y YEAR, po POINT, $1 j JSON, b BIT(3), u INT UNSIGNED, a VARCHAR(5) CHARACTER SET latin1,
 c VARCHAR(5) CHARACTER SET utf8mb4, bl BLOB, d VARCHAR(5) CHARACTER SET gbk, e ENUM('é') CHARACTER SET latin1, ln LINESTRING,
 z VARCHAR(6) CHARACTER SET koi8r, s SET('中') CHARACTER SET gbk, n DECIMAL(5,2) UNSIGNED, i INT);
INSERT INTO kinds (id,u,a,c,d,e,z,s,n,i) VALUES (1,4294967295,'é','é','中','é','я','中',1.5,-1);"
}
computed='g INT GENERATED ALWAYS AS (i8 + 1) STORED, po POINT, inv INT INVISIBLE'
wide="CREATE TABLE wide (id INT PRIMARY KEY$(printf ',c%d TINYINT' $(seq 0 999))); INSERT INTO wide VALUES (1$(for i in $(seq 0 999); do printf ',%d' $((i % 100)); done));"

start mysql my97 MYSQL=9.7
extra="UPDATE types SET po=ST_GeomFromText('POINT(1 2)'), inv=7, ve=TO_VECTOR('[1,2,3]') WHERE id=1;
INSERT INTO mv VALUES (1,'{\"a\":[1,2]}');
SET gtid_next='AUTOMATIC:my_tag'; INSERT INTO kp VALUES ('tag',20,1); INSERT INTO kp VALUES ('tag',21,1); SET gtid_next='AUTOMATIC';"
tables="$(schema utf8mb4 "$computed, ve VECTOR(3)") $documents CREATE TABLE mv (id INT PRIMARY KEY, j JSON, INDEX ((CAST(j->'\$.a' AS UNSIGNED ARRAY))));"
record my97_full "$tables" "$work" "$work_json" "$extra" "$wide"
sql -e 'SELECT @@gtid_executed' >"$here/my97_full.gtid"
sql -e 'SET GLOBAL binlog_row_metadata=MINIMAL'
record my97_minimal 'SET binlog_row_image=MINIMAL;' "$tables" "$work" "$work_json" "$extra"
sql -e "$definitions" >"$here/my97.columns"
sql -e 'SET GLOBAL binlog_row_metadata=FULL'
record my97_partial 'SET binlog_row_image=NOBLOB, binlog_row_value_options=PARTIAL_JSON;' "$tables" "$work" "$work_json" "$extra"
record my97_compressed 'SET binlog_transaction_compression=ON;' "$tables" "$work" "$work_json" "$extra"
sql -e "$(contents ',HEX(po),inv,HEX(ve)') $select_documents" >"$here/my97.txt"
record my97_kinds "$(kinds 've VECTOR(2),')"
stop

start mariadb ma1011 MARIADB=10.11
extra="UPDATE types SET po=ST_GeomFromText('POINT(1 2)'), inv=7 WHERE id=1;"
tables="$(schema utf8mb4 "$computed") $documents"
record ma1011_full "$tables" "$work" "$work_json" "$extra"
sql -e 'SELECT @@gtid_binlog_pos' >"$here/ma1011_full.gtid"
sql -e 'SET GLOBAL log_bin_compress=ON, log_bin_compress_min_len=10'
record ma1011_compressed "$tables" "$work" "$work_json" "$extra" \
  "CREATE TABLE comp (id INT PRIMARY KEY, a VARCHAR(300) COMPRESSED, b BLOB COMPRESSED, c TEXT COMPRESSED CHARACTER SET latin1, sh VARCHAR(100) COMPRESSED);
INSERT INTO comp VALUES (1,'short',x'00ff','é','x'),(2,NULL,'','','');"
sql -e 'SET GLOBAL log_bin_compress=OFF, binlog_row_metadata=NO_LOG'
record ma1011_nolog 'SET binlog_row_image=MINIMAL;' "$tables" "$work" "$work_json" "$extra"
sql -e "$definitions" >"$here/ma1011.columns"
sql -e "$(contents ',HEX(po),inv') $select_documents" >"$here/ma1011.txt"
sql -e 'SET GLOBAL binlog_row_metadata=FULL'
record ma1011_kinds "$(kinds '')"
stop

for version in 5.7.29 5.6.24 5.5.34; do
  file=my${version//./}
  # Times had no fractions yet.
  [ $version != 5.5.34 ] || types=$(sed -E 's/(TIME|DATETIME|TIMESTAMP)\([0-9]\)/\1/g' <<<"$types")
  start mysql "$file" MYSQL=$version '-uroot --password='
  record "${file}_full" "$(schema utf8 'g INT')" "$work"
  { echo 'SET NAMES utf8mb4;'; echo "$definitions;"; } | sql >"$here/$file.columns"
  contents '' | sql >"$here/$file.txt"
  stop
done
chmod 644 "$here"/*
