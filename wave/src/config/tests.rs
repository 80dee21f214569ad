use super::*;

fn read(text: &str) -> (Config, Vec<String>) {
    let (mut config, mut errors) = (Config::default(), Vec::new());
    config.read("f.toml", text, &mut errors);
    (config, errors)
}

#[test]
fn the_reference_is_the_defaults() {
    let (config, errors) = read(&Config::reference());
    assert_eq!(errors, [""; 0]);
    let default = Config::default();
    assert_eq!((config.up, config.wave, config.local), (default.up, default.wave, default.local));
    assert_eq!(config.sources, []);
    // The parts that stand there as comments are right as well.
    let mut text = Config::reference().replace("# [", "[").replace("\n# url", "\nurl");
    for key in SourceKeys::KEYS.iter().chain(Feed::KEYS) {
        text = text.replace(&format!("\n# {} = ", key.name), &format!("\n{} = ", key.name));
    }
    let (config, errors) = read(&text.replace("url = \"\"", "url = \"mysql://u@h/\""));
    assert_eq!(errors, [""; 0]);
    let keys = SourceKeys { url: "mysql://u@h/".into(), ..SourceKeys::default() };
    assert_eq!(config.sources, [SourceConfig { keys, feeds: vec![Feed::default()] }]);
}

#[test]
fn a_file_with_several_sources_and_feeds() {
    let (config, errors) = read(
        r#"
        [wave]
        in_flight = "8MiB"
        [local]
        retention_age = "7d"
        [[source]]
        url = "mysql://u@a/"
        password = "env:PW"
        [[source.feed]]
        topic = "orders"
        tables = "shop.orders"
        columns = ["shop.orders:id,total"]
        [[source.feed]]
        topic = "rest"
        partitions = 3
        [[source]]
        url = "mysql://u@b/"
        "#,
    );
    assert_eq!(errors, [""; 0]);
    assert_eq!(config.wave.in_flight, Size::mib(8));
    assert_eq!(config.local.retention_age, Some(Duration::from_secs(7 * 86_400)));
    let topics = |s: &SourceConfig| s.feeds.iter().map(|f| f.topic.clone()).collect::<Vec<_>>();
    assert_eq!(topics(&config.sources[0]), [Some("orders".into()), Some("rest".into())]);
    assert_eq!(topics(&config.sources[1]), [None]);
    assert_eq!(config.sources[0].keys.password, Some(Reference::Variable("PW".into())));
}

#[test]
fn every_mistake_is_found_with_its_line() {
    let (_, errors) = read(
        "[up]\nlisen = \"x\"\n[wave]\nin_flight = \"1GiB\"\nring = 5.5\n[[source]]\nfrom = \"now\"\npassword = \"hunter2\"\n\
         [[source.feed]]\ntabels = \"\"\n[zzz]\n",
    );
    let text = errors.join("\n");
    for wanted in [
        "f.toml:2: unknown key `lisen` in [up]; the nearest known one is `listen`",
        "f.toml:4: `in_flight` of [wave] is \"1GiB\"; it may be \"1MiB\" to \"28MiB\"",
        "f.toml:5: `ring` of [wave] takes a size",
        "f.toml:7: this [[source]] has no url",
        "f.toml:8: `password` of [[source]] takes a reference",
        "f.toml:10: unknown key `tabels` in [[source.feed]]; the nearest known one is `tables`",
        "f.toml:11: unknown key `zzz` in the file; known are up, wave, local, source",
    ] {
        assert!(text.contains(wanted), "{wanted}\nin\n{text}");
    }
    assert_eq!(errors.len(), 7);
    assert!(!text.contains("hunter2"));
    for broken in [
        "[up",
        "up = 3",
        "source = 1",
        "source = [1]",
        "[source]",
        "[[source]]\nurl=\"u\"\nfeed = 3",
        "[[source]]\nurl=\"u\"\nfeed = []",
    ] {
        assert_eq!(read(broken).1.len(), 1, "{broken}");
    }
}

#[test]
fn the_environment_counts_more_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[up]\nlisten = \"127.0.0.1:1\"\nto = \"local\"\n").unwrap();
    let variables = |list: &[(&str, &str)]| {
        list.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect::<Vec<_>>().into_iter()
    };
    let config =
        Config::load(Some(&path), variables(&[("BINLAKE_UP__LISTEN", "127.0.0.1:2"), ("BINLAKE_PASSWORD", "x")]));
    assert_eq!(config.unwrap().up.listen, "127.0.0.1:2");
    let error = Config::load(None, variables(&[("BINLAKE_WAVE__RINGS", "1MiB")])).unwrap_err();
    assert_eq!(error.code, 2);
    assert!(error.message.contains("BINLAKE_WAVE__RINGS") && error.message.contains("`ring`"), "{error}");
    assert_eq!(Config::load(Some(&folder.path().join("none")), variables(&[])).unwrap_err().code, 3);
}

/// What is just outside of a value of the reference, such as `"64MiB"`, `"10s"` or 256, in the direction asked.
fn beyond(value: &str, above: bool) -> Option<String> {
    let text = value.trim_matches('"');
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().unwrap();
    let (number, unit) = match unit {
        "GiB" => (number << 30, "B"),
        "MiB" => (number << 20, "B"),
        "KiB" => (number << 10, "B"),
        "d" => (number * 86_400_000, "ms"),
        "h" => (number * 3_600_000, "ms"),
        "m" => (number * 60_000, "ms"),
        "s" => (number * 1000, "ms"),
        unit => (number, unit),
    };
    let number = if above { number.checked_add(1)? } else { number.checked_sub(1)? };
    Some(if unit.is_empty() { number.to_string() } else { format!("\"{number}{unit}\"") })
}

#[test]
fn what_is_outside_of_a_printed_range_is_refused_with_its_line() {
    let reference = Config::reference();
    let (mut section, mut range, mut tried) = (String::new(), None, 0);
    for line in reference.lines() {
        let bare = line.trim_start_matches("# ");
        if bare.starts_with('[') {
            section = bare.to_string();
        } else if let Some(text) = bare.strip_prefix("Range: ") {
            range = text.trim_end_matches('.').split_once(" to ");
        } else if let Some((key, _)) = bare.split_once(" = ")
            && let Some((low, high)) = range.take()
        {
            for (edge, above) in [(low, false), (high, true)] {
                let file = |value: &str| match section.as_str() {
                    "[[source.feed]]" => {
                        format!("[[source]]\nurl = \"mysql://u@h/\"\n[[source.feed]]\n{key} = {value}\n")
                    }
                    _ => format!("# one\n\n{section}\n{key} = {value}\n"),
                };
                assert_eq!(read(&file(edge)).1, [""; 0], "{key}: the edge is inside");
                let Some(outside) = beyond(edge, above) else { continue };
                let (_, errors) = read(&file(&outside));
                let wanted = format!("f.toml:4: `{key}` of {section} is ");
                let told = errors.first().is_some_and(|e| {
                    e.starts_with(&wanted) && e.ends_with(&format!("it may be {low} to {high}")) && errors.len() == 1
                });
                assert!(told, "{key} = {outside}: {errors:?}");
                tried += 1;
            }
        }
    }
    // Both edges of 15 keys, but nothing is below zero.
    assert_eq!(tried, 2 * 15 - 1, "{reference}");
}
