//! Several users as an answer for people.

use super::charts;
use crate::advise::serving::answer::MOST_USERS;
use crate::advise::serving::{Decides, Knee, LoadVerdict, Serving, UnderRate, UserRow};
use crate::chart::Chart;
use crate::cli::shared::words::{format_name, gb, rates, times};
use crate::report::{Column, Document, Present, Table};
use crate::units::{Seconds, TokensPerSecond};

impl Present for Serving {
    const SCHEMA: &'static str = "mlxplan.serving/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "prompts that begin alike, and requests that are given up",
        "other processes, heat and power modes",
    ];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!(
            "{}  {}  on  {}  for {} {}",
            self.model.id,
            format_name(&self.model.quant),
            self.machine.id,
            self.users,
            users(self.users)
        ));
        d.text(self.engine_text());
        d.text(self.fit_text());
        d.main_table(table(&self.rows));
        d.text(knee_text(&self.knee));
        if let Some(load) = &self.load {
            d.heading(format!("At {} requests per second", figure(load.requests_per_s)));
            d.text(load_text(load));
            d.pairs(load_pairs(load));
        }
        if let Some(update) = &self.update {
            d.text(format!(
                "MLX {} multiplies several rows as fast as one by one: an update to {} gives {:+.0} % with {} users.",
                update.from,
                update.to,
                100.0 * update.gain,
                update.users
            ));
        }
        if let Some(settings) = &self.settings {
            d.heading(format!("Settings for {}", settings.engine));
            settings.commands.iter().for_each(|command| d.code(command.clone()));
            d.notes(settings.notes.clone());
        }
        d.notes(self.warnings.iter().chain(&self.notes).cloned().collect());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        charts::charts(self)
    }
}

const fn users(n: u32) -> &'static str {
    if n == 1 { "user" } else { "users" }
}

/// A figure with three digits.
fn figure(x: f64) -> String {
    let digits = (2.0 - x.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0);
    let text = format!("{x:.*}", digits as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

impl Serving {
    fn engine_text(&self) -> String {
        let version = self.engine.version.map_or_else(String::new, |v| format!(" {v}"));
        let mlx = self.engine.mlx.map_or_else(String::new, |v| format!(" (MLX {v})"));
        let s = &self.scheduler;
        let how = match s.one_at_a_time {
            Some(_) => "one request at a time".to_owned(),
            None => format!(
                "up to {} answers and {} {} at once",
                s.generating,
                s.reading,
                if s.reading == 1 { "prompt" } else { "prompts" }
            ),
        };
        format!(
            "With {}{version}{mlx}, {} of {}, {how}; prompts of {} tokens, answers of {}.",
            self.engine.program,
            if self.engine.mlx.is_some() { "chunks" } else { "batches" },
            self.engine.prefill_step,
            self.prompt_tokens,
            self.output_tokens
        )
    }

    fn fit_text(&self) -> String {
        let fit = &self.fit;
        let mut parts = vec![match fit.by_memory {
            MOST_USERS => format!("memory: {} and more", fit.by_memory),
            n => format!("memory: {n} (safe {})", fit.by_memory_safe),
        }];
        match (fit.by_speed, fit.by_speed_safe) {
            (Some(n), Some(safe)) => parts.push(format!("speed: {n} (safe {safe})")),
            _ => parts.push("speed: none was asked for (--min-tok-s, --max-ttft)".to_owned()),
        }
        parts.push(format!("{} at once: {}", self.engine.program, fit.by_engine));
        let decides = match fit.decides {
            Decides::Engine => "the engine's settings decide".to_owned(),
            other => format!("{} decides", other.name()),
        };
        let answer = if fit.users >= self.users {
            format!("{} {} fit", self.users, users(self.users))
        } else if fit.decides == Decides::Engine {
            format!("{} of {} users are served at once, the others wait", fit.users, self.users)
        } else if fit.users == 0 {
            "Not even one user fits".to_owned()
        } else {
            format!("Only {} of {} users fit", fit.users, self.users)
        };
        format!("{answer}; at most {}, {decides} ({}).", fit.users, parts.join("; "))
    }
}

fn table(rows: &[UserRow]) -> Table {
    let mut table = Table::new(vec![
        Column::number("users"),
        Column::number("total tok/s"),
        Column::number("90 %").droppable(3),
        Column::number("each tok/s"),
        Column::number("90 %").droppable(1),
        Column::number("TTFT"),
        Column::number("TTFT p90"),
        Column::number("p90, 90 %").droppable(2),
        Column::number("peak GB"),
        Column::text("fits"),
    ]);
    for r in rows {
        table.row([
            if r.at_once < r.users {
                format!("{} ({} at once)", r.users, r.at_once)
            } else {
                r.users.to_string()
            },
            TokensPerSecond(r.total_tokens_per_s).to_string(),
            rates(r.interval_90),
            TokensPerSecond(r.per_user_tokens_per_s).to_string(),
            rates(r.per_user_interval_90),
            Seconds(r.ttft_median_s).to_string(),
            Seconds(r.ttft_p90_s).to_string(),
            times(r.ttft_p90_interval_90_s),
            gb(r.peak_bytes),
            r.fits.to_string(),
        ]);
    }
    table.bars(rows.iter().map(|r| Some(r.total_tokens_per_s)).collect(), 4);
    table
}

fn knee_text(k: &Knee) -> String {
    let most = format!(
        "the most is {} tok/s, nearly reached by {} at once",
        TokensPerSecond(k.most_tokens_per_s),
        k.most_at
    );
    match k.cause {
        Some(cause) if k.users == 1 => {
            format!("A second user hardly raises the total: {}; {most}.", cause.text())
        }
        Some(cause) => {
            format!("Beyond {} users the total hardly grows: {}; {most}.", k.users, cause.text())
        }
        None if k.users == 1 => "One user at a time: others wait.".to_owned(),
        None => format!("The total grows up to the {} that are served at once; {most}.", k.users),
    }
}

fn load_text(load: &UnderRate) -> String {
    let most = format!(
        "the queue grows without end from {} requests per second (90 % {}–{})",
        figure(load.most_requests_per_s),
        figure(load.most_requests_interval_90_per_s[0]),
        figure(load.most_requests_interval_90_per_s[1])
    );
    match load.holds {
        LoadVerdict::Holds => format!("The server keeps up: {most}."),
        LoadVerdict::Uncertain => format!("The server probably keeps up: {most}."),
        LoadVerdict::Overloaded => format!(
            "The server does not keep up: {most}. The figures are of the first {} requests and grow with every further one.",
            load.requests
        ),
    }
}

fn load_pairs(load: &UnderRate) -> Vec<(String, String)> {
    let pair = |name: &str, text: String| (name.to_owned(), text);
    let mut pairs = vec![
        pair(
            "TTFT, median",
            format!("{} ({})", Seconds(load.ttft_median_s), times(load.ttft_median_interval_90_s)),
        ),
        pair(
            "TTFT, nine of ten",
            format!("{} ({})", Seconds(load.ttft_p90_s), times(load.ttft_p90_interval_90_s)),
        ),
        pair("each, median", format!("{} tok/s", TokensPerSecond(load.per_user_tokens_per_s))),
        pair(
            "slowest tenth",
            format!(
                "{} tok/s ({})",
                TokensPerSecond(load.slowest_tenth_tokens_per_s),
                rates(load.slowest_tenth_interval_90)
            ),
        ),
        pair("reading prompts", format!("{:.0} % of the work", 100.0 * load.reading_share)),
    ];
    if load.ttft_p90_then_s < load.ttft_p90_s {
        pairs.push(pair(
            "one prompt at a time",
            format!("nine of ten wait less than {}", Seconds(load.ttft_p90_then_s)),
        ));
    }
    pairs
}
