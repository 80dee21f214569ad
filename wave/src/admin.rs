//! The admin port: a plain status page, health and metrics. Works without JavaScript; shows no row data.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, guard, web};
use telemetry::Registry;

use crate::exit::{CommandResult, Exit};
use crate::status::{SourceStatus, StatusCell};

/// A running admin server.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// Where it listens: with port 0 the one that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server; answers under way are finished.
    pub fn stop(mut self) {
        // The future only has to be made: it sends the order when it is.
        drop(self.handle.stop(true));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    sources: Vec<StatusCell>,
    registry: Registry,
}

/// An address to listen on, one of loopback: there is no login here.
#[derive(Clone, Debug)]
pub struct Loopback {
    /// How a person finds where it was written.
    option: String,
    address: SocketAddr,
}

impl Loopback {
    /// # Errors
    /// With the option's name, as a usage error.
    pub fn parse(option: String, text: &str) -> CommandResult<Loopback> {
        let address: SocketAddr = text
            .parse()
            .map_err(|_| Exit::usage(format!("{option} {text}: write address:port, for example 127.0.0.1:8080")))?;
        if !address.ip().is_loopback() {
            return Err(Exit::usage(format!("{option} {text}: only loopback addresses are served without a login"))
                .hint("use 127.0.0.1 and a reverse proxy that authenticates"));
        }
        Ok(Loopback { option, address })
    }
}

/// Binds the address and serves on a thread of its own.
///
/// # Errors
/// It cannot be bound.
pub fn serve(listen: &Loopback, sources: Vec<StatusCell>, registry: Registry) -> CommandResult<Admin> {
    let wanted = listen.address;
    let state = web::Data::new(State { sources, registry });
    let (told, address) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || App::new().app_data(state.clone()).configure(routes))
                    .workers(1)
                    .disable_signals()
                    .shutdown_timeout(1)
                    .bind(wanted);
                match server {
                    Ok(server) => {
                        let address = server.addrs().first().copied().unwrap_or(wanted);
                        let running = server.run();
                        let _ = told.send(Ok((address, running.handle())));
                        if let Err(error) = running.await {
                            tracing::error!(%error, "admin server ended");
                        }
                    }
                    Err(e) => {
                        let _ = told.send(Err(e));
                    }
                }
            });
        })
        .map_err(|e| Exit::new(1, format!("no thread can be started: {e}")))?;
    match address.recv() {
        Ok(Ok((address, handle))) => Ok(Admin { address, handle, thread: Some(thread) }),
        Ok(Err(e)) => Err(Exit::new(6, format!("{} {wanted}: {e}", listen.option))
            .hint("choose another port, or port 0 for a free one")),
        Err(_) => Err(Exit::new(1, "the admin server did not start")),
    }
}

fn routes(config: &mut web::ServiceConfig) {
    let get = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    config
        .route("/", get().to(page))
        .route("/livez", get().to(|| async { "ok\n" }))
        .route("/readyz", get().to(ready))
        .route("/healthz", get().to(health))
        .route("/metrics", get().to(metrics))
        .route("/version", get().to(|| async { concat!("binlake ", env!("CARGO_PKG_VERSION"), "\n") }));
}

/// Ready once sources stream. One that cannot is its own matter (`/healthz` names it) and does not hold up the others;
/// once ready, a process stays so.
async fn ready(state: web::Data<State>) -> HttpResponse {
    match waiting_for(&snapshot(&state)) {
        None => HttpResponse::Ok().body("ok\n"),
        Some(why) => HttpResponse::ServiceUnavailable().body(format!("not ready: {why}\n")),
    }
}

fn waiting_for(sources: &[SourceStatus]) -> Option<String> {
    if let Some(s) = sources.iter().find(|s| !s.tried()) {
        return Some(format!("{} is {}", s.source, s.state));
    }
    if sources.iter().any(|s| s.streamed) { None } else { Some("no source streams; see /healthz".into()) }
}

/// 200 while every row finds its way, else 503; the same JSON in both cases.
async fn health(state: web::Data<State>) -> HttpResponse {
    let sources = snapshot(&state);
    let problems: Vec<String> = sources.iter().flat_map(SourceStatus::problems).collect();
    let mut answer = if problems.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let status = if problems.is_empty() { "ok" } else { "trouble" };
    answer.json(serde_json::json!({ "status": status, "problems": problems, "sources": sources }))
}

fn snapshot(state: &State) -> Vec<SourceStatus> {
    state.sources.iter().map(StatusCell::get).collect()
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(state.registry.render_prometheus())
}

async fn page(state: web::Data<State>) -> HttpResponse {
    let sources = snapshot(&state);
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(render(&sources))
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse;\
margin:1rem 0}td,th{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
.bad{color:#a00;font-weight:600}code{font-size:90%}";

fn render(sources: &[SourceStatus]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2><title>BinLake</title>\
         <style>{STYLE}</style><h1>BinLake</h1>"
    );
    for s in sources {
        let _ = write!(html, "<h2>{}</h2><table>", escape(&s.source));
        let rows = [
            ("from", escape(&s.origin)),
            ("to", escape(&s.target)),
            (
                "state",
                if s.state == "streaming" {
                    s.state.to_string()
                } else {
                    format!("<span class=bad>{}</span>", s.state)
                },
            ),
            (
                "lag",
                match s.lag_bytes {
                    Some(bytes) => format!("{:.1} s, {bytes} bytes of the log not read", s.lag_seconds),
                    None => format!("{:.1} s", s.lag_seconds),
                },
            ),
            ("rows", format!("{} in {} transactions, {:.0} rows/s", s.rows, s.transactions, s.rows_per_second)),
            ("read to", format!("<code>{}</code>", escape(&s.read))),
            ("settled to", format!("<code>{}</code>", escape(&s.settled))),
            ("GTIDs", format!("<code>{}</code>", escape(&s.gtid_set))),
            ("in flight", format!("{} bytes, {} more waiting", s.in_flight_bytes, s.queued_bytes)),
            ("reconnects", s.reconnects.to_string()),
        ];
        for (name, value) in rows {
            let _ = write!(html, "<tr><th>{name}<td>{value}");
        }
        if let Some(silent) = &s.silent {
            let _ = write!(html, "<tr><th>trouble<td><span class=bad>{}</span>", escape(silent));
        }
        let stopped = [("parked feed", &s.parked), ("quarantined table", &s.quarantined)];
        for (what, list) in stopped.into_iter().chain([("rows missing of", &s.as_statements)]) {
            for item in list {
                let _ = write!(
                    html,
                    "<tr><th>{what}<td><span class=bad>{}</span> at <code>{}</code>: {}<br>{}",
                    escape(&item.name),
                    escape(&item.at),
                    escape(&item.reason),
                    escape(&item.todo)
                );
            }
        }
        if let Some(last) = s.incidents.last() {
            let _ = write!(html, "<tr><th>last incident<td>{}: {}", last.code, escape(&last.message));
        }
        html.push_str("</table>");
        if !s.incidents.is_empty() {
            html.push_str("<h3>Incidents</h3><table>");
            for i in s.incidents.iter().rev() {
                let at = jiff::Timestamp::from_millisecond(i64::try_from(i.time_ms).unwrap_or(0)).unwrap_or_default();
                let _ = write!(
                    html,
                    "<tr><td>{at:.0}<td>{}<td>{} {}<td><code>{}</code>",
                    i.code,
                    escape(&i.subject),
                    escape(&i.message),
                    escape(&i.at)
                );
            }
            html.push_str("</table>");
        }
    }
    html.push_str(
        "<p><a href=/healthz>health</a> · <a href=/metrics>metrics</a> · <a href=/version>version</a></html>",
    );
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{IncidentLine, StopLine};

    #[test]
    fn page_escapes_what_comes_from_outside() {
        let status = SourceStatus { source: "<script>".into(), state: "streaming", ..SourceStatus::default() };
        let html = render(&[status]);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"));
    }

    fn source(state: &'static str, streamed: bool) -> SourceStatus {
        SourceStatus { source: "db".into(), state, streamed, ..SourceStatus::default() }
    }

    fn incident(mut source: SourceStatus, message: &str) -> SourceStatus {
        source.incidents.push(IncidentLine {
            time_ms: 0,
            code: "source_failed",
            subject: String::new(),
            message: message.into(),
            at: "b.1:4".into(),
        });
        source
    }

    #[test]
    fn ready_waits_for_sources_but_not_for_broken_ones() {
        let streaming = || source("streaming", true);
        let broken = || incident(source("backing_off", false), "connection refused");
        assert_eq!(waiting_for(&[source("connecting", false)]).unwrap(), "db is connecting");
        assert_eq!(waiting_for(&[streaming(), source("taking", false)]).unwrap(), "db is taking");
        assert_eq!(waiting_for(&[broken()]).unwrap(), "no source streams; see /healthz");
        assert_eq!(waiting_for(&[streaming(), broken()]), None);
        assert_eq!(waiting_for(&[incident(source("ended", true), "purged")]), None, "once ready, always ready");
    }

    #[test]
    fn problems_say_what_where_why_and_what_next() {
        assert_eq!(incident(source("streaming", true), "old news").problems(), [""; 0]);
        assert_eq!(incident(source("ended", true), "purged").problems(), ["db has ended: purged"]);
        assert_eq!(source("backing_off", true).problems(), ["db is backing off"]);
        let mut stopped = source("streaming", true);
        stopped.quarantined.push(StopLine {
            name: "shop.t<".into(),
            reason: "no definition".into(),
            at: "b.1:4".into(),
            gtid_set: String::new(),
            todo: "do this".into(),
        });
        assert_eq!(stopped.problems(), ["db: quarantined table shop.t<: no definition; do this"]);
        let html = render(&[stopped]);
        for part in ["shop.t&lt;", "b.1:4", "no definition", "do this"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn only_loopback_is_served() {
        for text in ["0.0.0.0:0", "nonsense"] {
            let refused = Loopback::parse("--listen".into(), text).unwrap_err();
            assert!(refused.code == 2 && refused.message.starts_with(&format!("--listen {text}: ")), "{refused}");
        }
    }
}
