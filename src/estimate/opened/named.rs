//! What names stand for: models of the catalog, files on this machine, repositories of the hub.

use super::{OpenError, Opened, OpenedModel, Sources, stated};
use crate::estimate::remote;
use crate::model::gguf::{GgufMix, Publisher};
use crate::model::hub_index::{self, IndexedRepo};
use crate::model::names::{NameError, NameSpec, Resolution, Resolver};
use crate::model::source::ModelSource;
use crate::model::{Scheme, UnknownFormat};
use crate::run::Program;

impl OpenedModel {
    /// Opens what a name stands for.
    pub(super) fn named<'c>(
        name: &NameSpec,
        (scheme, mix): (Option<Scheme>, Option<GgufMix>),
        sources: &Sources<'c, '_>,
    ) -> Result<Opened<'c>, OpenError> {
        if let Some(model) = remote::on_this_machine(name, (scheme, mix), sources) {
            return Ok(Opened::Model(Box::new(model)));
        }
        let tagged = (sources.program == Program::Ollama).then(|| name.as_ollama_reads_it());
        if let Some(tag) = tagged.flatten() {
            return Self::named(&tag, (scheme, mix), sources);
        }
        let found = match Resolver::new(sources.catalog).resolve(name, scheme) {
            Ok(Resolution::Class(class)) => return Ok(Opened::Class(class)),
            Ok(Resolution::One(found)) => found,
            Err(unknown) => {
                return match remote::look_up(name, unknown, sources) {
                    Ok(source) => Self::of_file(source, (scheme, mix), sources)
                        .map(|model| Opened::Model(Box::new(model))),
                    Err(OpenError::Unreachable(away)) => {
                        let row = hub_index::find(&away.repo);
                        Self::relative(row, name, (scheme, mix), sources)
                            .unwrap_or_else(|| Err(away.into()))
                    }
                    Err(other @ OpenError::Name(NameError::Unknown { .. })) => {
                        let row = hub_index::original(name.organization.as_deref(), &name.stem);
                        Self::relative(row, name, (scheme, mix), sources).unwrap_or(Err(other))
                    }
                    Err(other) => Err(other),
                };
            }
        };
        let mut entry = found.model.entry()?;
        // A type that is asked for beside the name decides.
        let stated = match mix {
            Some(_) => stated::Decided::default(),
            None => stated::Decided::of(&found, name, sources.program, &entry),
        };
        if let Some(block) = stated.block.clone() {
            entry.config = entry.config.with("quantization_config", block);
        }
        let source = ModelSource::from_entry(&entry)?;
        let mut model = Self::from_source(source, stated.scheme, sources)?;
        model.origin = stated.origin;
        model.weights_range = stated.weights_range;
        if let (Some(_), Some(suffix)) = (stated.weights_range, &name.suffix) {
            model.quant = suffix.text.clone();
        }
        if let Some(mix) = mix {
            model.weights_range = None;
            model = model.in_gguf(mix)?;
        } else if let Some(file_type) = &stated.gguf {
            model = model.in_gguf_of(file_type)?;
            model.origin = stated.origin;
        }
        let owner = name.organization.as_deref().map_or(Publisher::Unknown, Publisher::of_owner);
        model.asked_gguf = model.asked_gguf.map(|mix| mix.by(owner));
        let named = found.notes.iter().map(|note| (note.is_warning(), note.to_string()));
        for (doubt, note) in named.chain(stated.notes) {
            if !doubt {
                model.reading.push(note.clone());
            }
            model.remark(doubt, note);
        }
        Ok(Opened::Model(Box::new(model)))
    }

    /// Opens the model that a repository of the index is a copy of, which could not be read itself, in the format that
    /// `name` states.
    fn relative<'c>(
        row: Option<&IndexedRepo>,
        name: &NameSpec,
        (scheme, mix): (Option<Scheme>, Option<GgufMix>),
        sources: &Sources<'c, '_>,
    ) -> Option<Result<Opened<'c>, OpenError>> {
        let row = row?;
        let found = row.relative(sources.catalog)?;
        let id = &found.model.id;
        let stated = name.suffix.as_ref().map(|suffix| suffix.text.clone()).or(found.suffix);
        let spelled = match stated {
            Some(suffix) if scheme.is_none() && mix.is_none() => format!("{id}-{suffix}"),
            _ => id.clone(),
        };
        let opened = Self::named(&NameSpec::parse(&spelled), (scheme, mix), sources);
        Some(opened.map(|mut opened| {
            if let Opened::Model(model) = &mut opened {
                let note = format!(
                    "{} is read as {id}, {} by the index of the hub; its own files were not read",
                    row.repo, found.reason
                );
                model.warnings.push(note);
            }
            opened
        }))
    }

    /// The same model as a GGUF file of the type that a name states, which was not read.
    fn in_gguf_of(self, file_type: &str) -> Result<Self, OpenError> {
        let mix = file_type
            .parse()
            .map_err(|_| OpenError::Format(UnknownFormat(file_type.to_owned())))?;
        self.in_gguf(mix)
    }
}
