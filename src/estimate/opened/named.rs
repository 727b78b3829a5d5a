//! What names stand for: models of the catalog, files on this machine, repositories of the hub.

use super::{OpenError, Opened, OpenedModel, Sources, Unreachable, stated};
use crate::estimate::remote;
use crate::model::gguf::{GgufMix, Publisher};
use crate::model::hub_index;
use crate::model::names::{NameSpec, Resolution, Resolver};
use crate::model::source::ModelSource;
use crate::model::{Scheme, UnknownFormat};

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
        let found = match Resolver::new(sources.catalog).resolve(name, scheme) {
            Ok(Resolution::Class(class)) => return Ok(Opened::Class(class)),
            Ok(Resolution::One(found)) => found,
            Err(unknown) => {
                return match remote::look_up(name, unknown, sources) {
                    Ok(source) => Self::of_file(source, (scheme, mix), sources)
                        .map(|model| Opened::Model(Box::new(model))),
                    Err(OpenError::Unreachable(away)) => {
                        Self::relative(away, (scheme, mix), sources)
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

    /// Opens the model that a repository is a copy of by the index of the hub, which could not be asked.
    fn relative<'c>(
        away: Unreachable,
        (scheme, mix): (Option<Scheme>, Option<GgufMix>),
        sources: &Sources<'c, '_>,
    ) -> Result<Opened<'c>, OpenError> {
        let row = hub_index::find(&away.repo);
        let Some(found) = row.and_then(|row| row.relative(sources.catalog)) else {
            return Err(away.into());
        };
        let id = &found.model.id;
        let spelled = match &found.suffix {
            Some(suffix) if scheme.is_none() && mix.is_none() => format!("{id}-{suffix}"),
            _ => id.clone(),
        };
        let mut opened = Self::named(&NameSpec::parse(&spelled), (scheme, mix), sources)?;
        if let Opened::Model(model) = &mut opened {
            let note = format!(
                "{} is read as {id}, {} by the index of the hub; its own files were not read",
                away.repo, found.reason
            );
            model.warnings.push(note);
        }
        Ok(opened)
    }

    /// The same model as a GGUF file of the type that a name states, which was not read.
    fn in_gguf_of(self, file_type: &str) -> Result<Self, OpenError> {
        let mix = file_type
            .parse()
            .map_err(|_| OpenError::Format(UnknownFormat(file_type.to_owned())))?;
        self.in_gguf(mix)
    }
}
