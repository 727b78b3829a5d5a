//! Rows of measurements as runs: of this model, program and machine, and possible by what the auditor knows.

use super::{Found, SHORTEST_PROMPT, Wanted};
use crate::audit::{self, JudgedClaims, Severity};
use crate::cli::shared::row_cases::{OpenedModels, row_case};
use crate::estimate::OwnRun;
use crate::estimate::widening::Of;
use crate::hardware::machine::Machine;
use crate::run::{Program, Work};
use crate::validation::Measurement;
use crate::validation::measurement::RateKind;
use anyhow::Result;

/// The format of Ollama's tags that name none.
const OLLAMA_DEFAULT: &str = "gguf-q4_k_m";

impl Wanted<'_> {
    /// The runs of rows. Those that the auditor finds impossible are left out, with what it says.
    ///
    /// # Errors
    /// When a machine or the catalog cannot be read.
    pub(super) fn of_rows(&self, rows: &[Measurement], found: &mut Found<'_>) -> Result<()> {
        let only = self.machines.and_then(|all| all.first()).map(|m| m.id.as_str());
        let mut models = OpenedModels::default();
        let mut kept = Vec::new();
        for row in rows {
            match self.check_row(row).and_then(|()| self.hosts(row)) {
                Ok(hosts) => kept.push((row, hosts)),
                Err(why) => found.left_out.push(format!("{}: {why}", row.id)),
            }
        }
        for (row, hosts) in kept {
            // Each by itself: two runs of a file may have one name.
            let case = row_case(self.context, row, only, &mut models)?;
            match possible(&audit::judge(&[case])) {
                Ok(()) => hosts.iter().for_each(|host| found.add_row(host, row)),
                Err(why) => found.left_out.push(format!("{}: {why}", row.id)),
            }
        }
        Ok(())
    }

    /// Whether a row is a run of this model with this program.
    fn check_row(&self, row: &Measurement) -> Result<(), String> {
        row.not_plain().map_or(Ok(()), Err)?;
        if row.rate_kind == RateKind::EndToEnd {
            return Err("its rate is over the whole request, prompt included".to_owned());
        }
        let stated = row.engine_setup().program;
        let program = match (stated, self.program()) {
            // One that the file does not tell from the others on MLX.
            (Program::MlxServer, asked) if asked.is_mlx_server() => asked,
            (stated, _) => stated,
        };
        self.check_program(program)?;
        let nameless = row.model_published.is_empty() && row.model_id.is_empty();
        if !nameless && row.model_id != self.model.id {
            return Err(format!("measured '{}', not {}", row.model_published, self.model.id));
        }
        let (quant, asked) = (row.quant.as_str(), self.quant());
        let of_tag = row.engine == Program::Ollama && quant == "unknown" && asked == OLLAMA_DEFAULT;
        if nameless || quant == asked || of_tag {
            return Ok(());
        }
        Err(format!("measured in the format '{quant}', not {asked}"))
    }

    /// The format of the model in the words of measurement files.
    fn quant(&self) -> String {
        match self.model.gguf_mix() {
            Some(mix) => format!("gguf-{}", mix.to_string().to_lowercase()),
            None if self.program().runs_gguf() => OLLAMA_DEFAULT.to_owned(),
            None => self.model.quant.clone(),
        }
    }

    /// The machines that a row may be of, among those that are asked about: what it does not say is taken to be theirs.
    fn hosts(&self, row: &Measurement) -> Result<Vec<Host>, String> {
        let fits = |chip: &String, gib: u64| {
            (row.chips.is_empty() || row.chips.contains(chip))
                && row.memory_gib.is_none_or(|memory| memory == gib)
        };
        let host = |m: &Machine| {
            let (chip, memory_gib) = (m.chip.clone()?, m.memory.value.0 >> 30);
            fits(&chip, memory_gib).then_some(Host { chip, memory_gib })
        };
        let hosts: Vec<Host> = match (self.machines, row.chips.as_slice(), row.memory_gib) {
            (Some(all), ..) => all.iter().filter_map(host).collect(),
            (None, [chip], Some(memory_gib)) => vec![Host { chip: chip.clone(), memory_gib }],
            (None, ..) => Vec::new(),
        };
        if hosts.is_empty() {
            let memory = row.memory_gib.map_or(String::new(), |gib| format!(", {gib} GB"));
            let chips = row.chips.join(" or ");
            return Err(format!("measured on {chips}{memory}, not {}", self.machine_names()));
        }
        Ok(hosts)
    }
}

/// A machine of a row.
struct Host {
    chip: String,
    memory_gib: u64,
}

/// What the auditor says against a row that was judged by itself.
fn possible(judged: &JudgedClaims) -> Result<(), String> {
    match judged.findings.iter().find(|f| f.severity == Severity::Impossible) {
        Some(f) => Err(format!("not possible: {} ({})", f.numbers, f.cause)),
        None => Ok(()),
    }
}

impl Found<'_> {
    fn add_row(&mut self, host: &Host, row: &Measurement) {
        let context_tokens = row.context_tokens.or(row.prompt_tokens).unwrap_or(0);
        let work = Work {
            context_tokens,
            generate_tokens: row.gen_tokens.unwrap_or(0),
            batch: row.batch,
            ..Work::default()
        };
        let whole = context_tokens >= SHORTEST_PROMPT && !row.paused;
        let rates =
            [(Of::Decode, row.decode_tok_s), (Of::Prefill, row.prefill_tok_s.filter(|_| whole))];
        for (of, rate) in rates {
            let Some(rate) = rate else { continue };
            self.runs.push(OwnRun {
                id: self.id(of, work, &row.id),
                chip: host.chip.clone(),
                memory_gib: host.memory_gib,
                of,
                work,
                rate,
                log_error: None,
            });
        }
    }
}
