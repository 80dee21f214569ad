//! The type matrix: families of column types with their boundary values, as far as a server has them.

use std::rc::Rc;

use crate::spec::{Gen, Kind, Server, Type};

fn ty(sql: impl Into<String>, kind: Kind, random: Gen, values: &[&str]) -> Rc<Type> {
    let mut values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.push("NULL".into());
    Rc::new(Type { sql: sql.into(), kind, values, random })
}

/// A family becomes one table of the matrix.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) types: Vec<Rc<Type>>,
}

/// All families that `server` has. `charsets`: names and bytes per character as the server lists them.
pub(crate) fn families(server: &Server, charsets: &[(String, usize)]) -> Vec<Family> {
    let mut all = vec![
        Family { name: "integers", types: integers() },
        Family { name: "numbers", types: numbers(server) },
        Family { name: "temporals", types: temporals(server) },
        Family { name: "strings", types: strings() },
        Family { name: "blobs", types: blobs() },
        Family { name: "labels", types: labels(server) },
        Family { name: "geometries", types: geometries(server) },
    ];
    for (index, chunk) in charsets.chunks(15).enumerate() {
        let name = ["charsets1", "charsets2", "charsets3", "charsets4"][index.min(3)];
        all.push(Family { name, types: chunk.iter().map(|(name, bytes)| charset(name, *bytes)).collect() });
    }
    if server.mysql(5, 7, 8) {
        all.push(Family { name: "documents", types: documents() });
    }
    let special = special(server);
    if !special.is_empty() {
        all.push(Family { name: "special", types: special });
    }
    all
}

fn integers() -> Vec<Rc<Type>> {
    let mut types = Vec::new();
    for (name, bits) in [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)] {
        let half = 1i128 << (bits - 1);
        let list = |values: [i128; 5]| values.map(|v| v.to_string());
        let signed = list([-half, half - 1, -1, 0, 1]);
        let unsigned = list([0, 1, half - 1, half, 2 * half - 1]);
        types.push(ty(name, Kind::Int, Gen::Int(bits, false), &signed.each_ref().map(String::as_str)));
        let values = unsigned.each_ref().map(String::as_str);
        types.push(ty(format!("{name} unsigned"), Kind::Int, Gen::Int(bits, true), &values));
    }
    types.push(ty("boolean", Kind::Int, Gen::Int(8, false), &["true", "false", "-128"]));
    types
}

fn numbers(server: &Server) -> Vec<Rc<Type>> {
    let nines = format!("'{}.{}'", "9".repeat(35), "9".repeat(30));
    let negative = nines.replacen('\'', "'-", 1);
    let whole = format!("'{}'", "9".repeat(65));
    let floats = ["0", "1.1", "-0.1", "16777216", "3.40282e38", "1.17549e-38", "1e15", "-123456.789", "-0.0", "1e-45"];
    let doubles =
        ["0", "-1.1", "1e14", "1e15", "1234567890123456.7", "1e-15", "5e-324", "1.7976931348623157e308", "-0.0", "0.1"];
    let mut types = vec![
        ty("float", Kind::Float, Gen::Double, &floats),
        ty("double", Kind::Double, Gen::Double, &doubles),
        ty("double unsigned", Kind::Double, Gen::Double, &["0", "0.1", "1e300"]),
        ty(
            "decimal(65,30)",
            Kind::Decimal,
            Gen::Decimal(65, 30),
            &[&nines, &negative, "0", "'-0.000000000000000000000000000001'"],
        ),
        ty("decimal(65,0)", Kind::Decimal, Gen::Decimal(65, 0), &[&whole, "-1", "0"]),
        ty("decimal(10,2) unsigned", Kind::Decimal, Gen::Decimal(10, 2), &["0", "99999999.99", "0.5"]),
        ty("decimal(30,30)", Kind::Decimal, Gen::Decimal(30, 30), &["'0.000000000000000000000000000001'", "0", "-0.5"]),
        ty("decimal(9,9)", Kind::Decimal, Gen::Decimal(9, 9), &["0.000000001", "-0.999999999"]),
        ty("decimal(1,0)", Kind::Decimal, Gen::Decimal(1, 0), &["9", "-9"]),
        ty("bit(1)", Kind::Bit, Gen::Int(1, true), &["0", "1"]),
        ty("bit(10)", Kind::Bit, Gen::Int(10, true), &["0", "1023", "512", "1"]),
        ty("bit(32)", Kind::Bit, Gen::Int(32, true), &["4294967295", "2147483648"]),
        ty("bit(64)", Kind::Bit, Gen::Int(64, true), &["18446744073709551615", "9223372036854775808", "0", "258"]),
        ty("year", Kind::Year, Gen::Listed, &["0", "1901", "2155", "2024", "1999"]),
    ];
    if server.maria(10, 2, 1) {
        let (fine, unit) = ("9".repeat(38), format!("'0.{}1'", "0".repeat(37)));
        let nines = format!("'{}.{fine}'", "9".repeat(27));
        types.push(ty("decimal(65,38)", Kind::Decimal, Gen::Decimal(65, 38), &[&nines, &format!("-{unit}"), "0"]));
        types.push(ty("decimal(38,38)", Kind::Decimal, Gen::Decimal(38, 38), &[&unit, &format!("'-0.{fine}'"), "0"]));
        types.push(ty("decimal(31,31)", Kind::Decimal, Gen::Decimal(31, 31), &["-0.5", "'0.0000001'"]));
    }
    types
}

fn temporals(server: &Server) -> Vec<Rc<Type>> {
    let dates = ["'0000-00-00'", "'2024-00-00'", "'2024-02-31'", "'0003-01-01'", "'9999-12-31'", "'1000-01-01'"];
    let times = [
        "'838:59:59'",
        "'-838:59:59'",
        "'-00:00:00.4'",
        "'-00:00:01.25'",
        "'12:34:56.789012'",
        "'00:00:00'",
        "'-100:00:00.000009'",
    ];
    let datetimes = [
        "'0000-00-00 00:00:00'",
        "'2024-02-29 12:34:56.789012'",
        "'0003-01-01 23:59:59'",
        "'2024-02-31 00:00:00.4'",
        "'9999-12-31 00:00:00'",
        "'2024-00-00 01:02:03'",
    ];
    let mut timestamps =
        vec!["'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-02-29 12:34:56.789012'"];
    if server.maria(11, 5, 0) {
        timestamps.push("'2106-02-07 06:28:15'");
    }
    let mut types = vec![ty("date", Kind::Temporal, Gen::Date, &dates)];
    let fractions: &[u32] = if server.mariadb || server.mysql(5, 6, 4) { &[0, 1, 2, 3, 4, 5, 6] } else { &[0] };
    for &fsp in fractions {
        let digits = if fsp == 0 { String::new() } else { format!("({fsp})") };
        types.push(ty(format!("time{digits}"), Kind::Temporal, Gen::Time(fsp), &times));
        types.push(ty(format!("datetime{digits}"), Kind::Temporal, Gen::DateTime(fsp), &datetimes));
        types.push(ty(format!("timestamp{digits} null"), Kind::Temporal, Gen::DateTime(fsp), &timestamps));
    }
    types
}

const TEXT: &str = "'aé€中文ЖΩあア한ต'";

fn strings() -> Vec<Rc<Type>> {
    vec![
        ty("char(10) character set latin1", Kind::Text, Gen::Text(10), &["''", "'é€'", "'abc  '", "x'80819dff'"]),
        ty(
            "char(255) character set utf8mb4",
            Kind::Text,
            Gen::Text(255),
            &["''", "'é€😀'", "repeat('😀', 255)", r#"'\\ \' \" \n\0\Z'"#],
        ),
        ty("char(0)", Kind::Text, Gen::Listed, &["''"]),
        ty("varchar(20) character set utf8mb4", Kind::Text, Gen::Text(20), &["''", "'😀'", "repeat('é', 20)"]),
        ty("varchar(63) character set utf8mb4", Kind::Text, Gen::Text(63), &["''", "repeat('😀', 63)"]),
        ty("varchar(64) character set utf8mb4", Kind::Text, Gen::Text(64), &["''", "repeat('😀', 64)"]),
        ty("varchar(300) character set gbk", Kind::Text, Gen::Text(30), &["'中文'", "repeat('中', 300)", "''"]),
        ty("binary(5)", Kind::Bytes, Gen::Bytes(5), &["x'0100'", "''", "x'ffffffffff'", "x'2020'", "x'0000000000'"]),
        ty("binary(255)", Kind::Bytes, Gen::Bytes(255), &["repeat('x', 255)", "x'00'"]),
        ty("varbinary(300)", Kind::Bytes, Gen::Bytes(300), &["x'0100'", "''", "repeat(x'ff', 300)"]),
        ty("varbinary(20)", Kind::Bytes, Gen::Bytes(20), &["x'00'", "''", "x'c328'"]),
    ]
}

fn blobs() -> Vec<Rc<Type>> {
    vec![
        ty("tinytext character set latin1", Kind::Text, Gen::Text(60), &["'é'", "repeat('x', 255)", "''"]),
        ty("text character set ucs2", Kind::Text, Gen::Text(60), &["'é€'", "repeat('€', 1000)"]),
        ty("mediumtext character set utf8mb4", Kind::Text, Gen::Text(600), &["repeat('x', 70000)", "'😀'", "''"]),
        ty("longtext character set sjis", Kind::Text, Gen::Text(60), &["'日本'", "''"]),
        ty("tinyblob", Kind::Bytes, Gen::Bytes(200), &["x'00ff'", "''"]),
        ty("blob", Kind::Bytes, Gen::Bytes(600), &["repeat(x'80', 300)", "x'00'"]),
        ty("mediumblob", Kind::Bytes, Gen::Bytes(600), &["repeat(x'80', 70000)", "''"]),
        ty("longblob", Kind::Bytes, Gen::Bytes(600), &["x'fe'", "''"]),
    ]
}

fn labels(server: &Server) -> Vec<Rc<Type>> {
    let many: Vec<String> = (0..300).map(|n| format!("'label{n}'")).collect();
    let members: Vec<String> = (0..64).map(|n| format!("'m{n}'")).collect();
    let list = |name: &str, kind, types: &[String], values: &[&str]| {
        ty(format!("{name}({})", types.join(",")), kind, Gen::Listed, values)
    };
    let mut types = vec![
        ty("enum('x','中','é') character set gbk", Kind::Enum, Gen::Listed, &["'x'", "'中'", "'é'", "'no label'"]),
        ty("enum('a,b','it''s','\\\\','') character set utf8mb4", Kind::Enum, Gen::Listed, &["1", "2", "3", "4", "0"]),
        ty("enum('ж','б') character set koi8r", Kind::Enum, Gen::Listed, &["1", "2"]),
        list("enum", Kind::Enum, &many, &["'label0'", "'label299'", "'label255'", "'label254'"]),
        ty("set('a','é','c') character set latin1", Kind::Set, Gen::Listed, &["''", "'a'", "'a,c'", "'a,é,c'", "7"]),
        list("set", Kind::Set, &members, &["''", "'m63'", "'m0,m8,m63'", "18446744073709551615"]),
        list("set", Kind::Set, &members[..9], &["''", "'m8'", "511"]),
        // Second bytes that are a backslash.
        ty("enum('表','ソ') character set sjis", Kind::Enum, Gen::Listed, &["'表'", "'ソ'"]),
        ty("set('功','x') character set big5", Kind::Set, Gen::Listed, &["'功'", "'功,x'"]),
    ];
    // Where the log has labels without their character set, the form cannot be foretold by the settings.
    if !server.mysql(8, 0, 1) || server.mysql(8, 0, 18) {
        let (one, several) = ("enum('?','😀','中') character set utf8mb4", "set('😀','é','?') character set utf8mb4");
        types.push(ty(one, Kind::Enum, Gen::Listed, &["1", "'😀'", "'中'", "'no label'"]));
        types.push(ty(several, Kind::Set, Gen::Listed, &["''", "'😀'", "'é'", "'😀,é'", "4", "7"]));
    }
    types.push(ty("varchar(9) character set greek", Kind::Text, Gen::Text(9), &["'Ωμέγα'"]));
    types
}

fn geometries(server: &Server) -> Vec<Rc<Type>> {
    let wkt = |text: &str| format!("GeomFromText('{text}')").replace("GeomFromText", from_text(server));
    let values = [
        "POINT(1 2)",
        "LINESTRING(0 0,1 1,-2.5 1e10)",
        "POLYGON((0 0,0 3,3 3,3 0,0 0),(1 1,1 2,2 2,2 1,1 1))",
        "MULTIPOINT(1 1,2 2)",
        "MULTILINESTRING((1 1,2 2),(3 3,4 4))",
        "MULTIPOLYGON(((0 0,0 1,1 1,1 0,0 0)))",
        "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
    ]
    .map(wkt);
    let mut all: Vec<&str> = values.iter().map(String::as_str).collect();
    if server.mysql(8, 0, 0) {
        all.push("ST_GeomFromText('LINESTRING(10 20,11 21)', 4326)");
    }
    let point = values[0].clone();
    vec![
        ty("geometry", Kind::Geometry, Gen::Listed, &all),
        ty("point", Kind::Geometry, Gen::Listed, &[&point]),
        // Counts among the text columns of MariaDB's metadata: the one behind it must keep its own set.
        ty("varchar(9) character set cp1251", Kind::Text, Gen::Text(9), &["'Жук'"]),
    ]
}

fn from_text(server: &Server) -> &'static str {
    if server.mysql(5, 6, 1) || server.mariadb { "ST_GeomFromText" } else { "GeomFromText" }
}

/// Every code of a set of single bytes; text that goes through the server's own conversion for the others.
fn charset(name: &str, bytes: usize) -> Rc<Type> {
    let codes = |from: u32, to: u32| {
        let hex: String = (from..to).map(|b| format!("{b:02x}")).collect();
        format!("_{name} x'{hex}'")
    };
    let (low, high) = (codes(0x20, 0x80), codes(0x80, 0x100));
    let mut values = vec![TEXT, "'abc'", "'\u{a5}\u{203e}~\\\\'", "''"];
    if bytes == 1 {
        values.extend([low.as_str(), high.as_str()]);
    }
    ty(format!("varchar(128) character set {name}"), Kind::Text, Gen::Text(40), &values)
}

fn documents() -> Vec<Rc<Type>> {
    let numbers: Vec<String> = (0..12_000).map(|n| n.to_string()).collect();
    let large = format!("'[{}]'", numbers.join(","));
    let json = ty(
        "json",
        Kind::Json,
        Gen::Json,
        &[
            r#"'{"b": [1, 2.50, "x\\"y", null, true], "a": {"": 1e20}}'"#,
            "'[]'",
            "'null'",
            "json_array(1.10, date'2024-02-29', time'-01:02:03.5', x'00ff', point(1, 2), timestamp'2024-02-29 01:02:03.4')",
            "cast(18446744073709551615 as json)",
            "cast(-9223372036854775808 as json)",
            &large,
            "concat(repeat('[', 100), repeat(']', 100))",
            r#"'"\\u0000\\u001f\\t€😀"'"#,
            r"json_object('k', repeat('x', 70000), repeat('y', 300), 1)",
            "'{\"c\": \"1\", \"aa\": 2, \"é\": 1.5e-7, \"z\": -0.0}'",
            "cast(cast(1.5 as decimal(65,30)) as json)",
        ],
    );
    let behind = ty("varchar(9) character set latin1", Kind::Text, Gen::Text(9), &["'é'"]);
    vec![json.clone(), behind, json]
}

/// Types that only some servers have.
fn special(server: &Server) -> Vec<Rc<Type>> {
    let mut types = Vec::new();
    if server.mysql(9, 0, 0) {
        let values = ["string_to_vector('[1,-2.5,3e10]')", "string_to_vector('[0,1.5e-30,-0]')"];
        types.push(ty("vector(3)", Kind::Vector, Gen::Listed, &values));
        types.push(ty("vector", Kind::Vector, Gen::Listed, &values));
        types.push(ty("varchar(9) character set greek", Kind::Text, Gen::Text(9), &["'Ωμέγα'"]));
    }
    if server.maria(11, 7, 0) {
        types.push(ty("vector(3)", Kind::MariaVector, Gen::Listed, &["Vec_FromText('[1,-2.5,3e10]')"]));
    }
    if server.maria(11, 5, 0) {
        for set in ["utf8mb3", "utf8mb4"] {
            let sql = format!("varchar(20) character set {set} collate {set}_general1400_as_ci");
            types.push(ty(sql, Kind::Text, Gen::Text(20), &["'é€'", "''"]));
        }
    }
    if server.maria(10, 3, 2) {
        let text = ["''", "'é'", "repeat('compress me ', 300)", "repeat('😀', 900)"];
        let bytes = ["''", "x'00'", "repeat(x'80ff', 2000)"];
        types.push(ty("varchar(4000) compressed character set utf8mb4", Kind::Text, Gen::Text(300), &text));
        types.push(ty("varbinary(4000) compressed", Kind::Bytes, Gen::Bytes(300), &bytes));
        types.push(ty("text compressed character set utf8mb4", Kind::Text, Gen::Text(300), &text));
        types.push(ty("longblob compressed", Kind::Bytes, Gen::Bytes(300), &bytes));
    }
    if server.maria(10, 5, 0) {
        let inet6 =
            ["'::'", "'::1'", "'2001:db8::1:0:0:1'", "'::ffff:192.0.2.1'", "'::192.0.2.0'", "'1:2:0:4:5:6:7:0'"];
        types.push(ty("inet6", Kind::FixedBinary, Gen::Listed, &inet6));
    }
    if server.maria(10, 7, 0) {
        // Versions 1 to 5 are stored in another order than the others, and those of before RFC 4122 as they come.
        let uuid = [
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-bfff-ffffffffffff'",
            "'00112233-4455-1677-8899-aabbccddeeff'",
            "'00112233-4455-4677-b899-aabbccddee00'",
            "'00112233-4455-7677-8899-aabbccdd0000'",
            "'00112233-4455-4677-0899-aabbccddeeff'",
            "uuid()",
        ];
        types.push(ty("uuid", Kind::FixedBinary, Gen::Listed, &uuid));
    }
    if server.maria(10, 10, 0) {
        types.push(ty("inet4", Kind::FixedBinary, Gen::Listed, &["'0.0.0.0'", "'255.255.255.255'", "'192.0.2.0'"]));
    }
    if server.mariadb && server.version >= (10, 2, 7) {
        types.push(ty("json", Kind::Shown, Gen::Listed, &["'{\"a\": 1}'"]));
    }
    types
}
