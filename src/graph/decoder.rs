//! A model as layers between an embedding and a head: the one loop over layers, for every family.
//!
//! A family gives the layers and says what stands around them. The loop knows which layers a call leaves out, which
//! cache and which mask a layer gets, and hands on what layers share besides the hidden state.

use super::cache::{Cache, CacheKind};
use super::masks::MaskRule;
use super::nn::{Embedding, Head, Norm};
use super::pattern::LayerUse;
use super::tape::{Mask, Stage, Tape, Var};
use super::{Built, Experts, Network, QuantOverride};

/// One layer of a decoder. `S` is what the layers of the family share besides the hidden state.
///
/// A layer may leave something in `shared` for those behind it. That is sound in a call that leaves layers out where
/// later layers read what the nearest one of a kind has left; a layer to whose values others come back by its place is
/// a [`Place::source`].
pub trait Layer<S>: Send + Sync {
    /// The hidden state after the layer.
    fn run(&self, t: &Tape<'_>, x: Var, at: At<'_, S>) -> Var;
}

/// What a layer gets besides the hidden state.
pub struct At<'a, S> {
    /// The mask of its rule.
    pub mask: Mask,
    /// Its cache, or the one it reads; an empty list where it has none.
    pub cache: &'a mut Cache,
    /// What the layers share.
    pub shared: &'a mut S,
}

/// A layer that shares nothing with others but the hidden state.
pub trait Block: Send + Sync {
    /// The hidden state after the layer.
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var;
}

impl<S, T: Block + ?Sized> Layer<S> for T {
    fn run(&self, t: &Tape<'_>, x: Var, at: At<'_, S>) -> Var {
        Block::forward(self, t, x, at.mask, at.cache)
    }
}

impl<T: Block + ?Sized> Block for Box<T> {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        (**self).forward(t, x, mask, cache)
    }
}

/// The cache that a layer works with.
#[derive(Clone, Debug)]
enum CacheUse {
    /// One of its own.
    Own(CacheKind),
    /// That of an earlier layer, by the layer's place; it only reads it.
    Of(usize),
    /// None.
    Nothing,
}

/// A layer in its place: its mask and its cache.
pub struct Place<S> {
    rule: MaskRule,
    cache: CacheUse,
    source: bool,
    layer: Box<dyn Layer<S>>,
}

impl<S> Place<S> {
    /// A layer with a mask and the cache that attention with this mask has, if any.
    pub fn new(rule: MaskRule, layer: impl Layer<S> + 'static) -> Self {
        let cache = rule.cache().map_or(CacheUse::Nothing, CacheUse::Own);
        Self { rule, cache, source: false, layer: Box::new(layer) }
    }

    /// With a cache of the given class.
    #[must_use]
    pub fn caching(mut self, kind: CacheKind) -> Self {
        self.cache = CacheUse::Own(kind);
        self
    }

    /// Without a cache of its own: it reads that of the layer at `place`, which must be a [`Place::source`].
    #[must_use]
    pub fn reading(mut self, place: usize) -> Self {
        self.cache = CacheUse::Of(place);
        self
    }

    /// If `is`, later layers come back to the values or the cache of this one, so that no other can stand for it.
    #[must_use]
    pub fn source(mut self, is: bool) -> Self {
        self.source = is;
        self
    }
}

impl<S, B: Block + 'static> From<(MaskRule, B)> for Place<S> {
    fn from((rule, block): (MaskRule, B)) -> Self {
        Self::new(rule, block)
    }
}

impl<S, B: Block + 'static> From<(MaskRule, CacheKind, B)> for Place<S> {
    fn from((rule, kind, block): (MaskRule, CacheKind, B)) -> Self {
        Self::new(rule, block).caching(kind)
    }
}

/// Token ids to the first hidden state.
pub trait Embed: Send + Sync {
    /// The rows of the tokens `[batch, tokens, width]`; `cache` is its own if it has one.
    fn embed(&self, t: &Tape<'_>, tokens: Var, cache: Option<&mut Cache>) -> Var;

    /// The class of its cache, which stands before those of the layers.
    fn cache(&self) -> Option<CacheKind> {
        None
    }
}

impl Embed for Embedding {
    fn embed(&self, t: &Tape<'_>, tokens: Var, _: Option<&mut Cache>) -> Var {
        self.forward(t, tokens)
    }
}

/// What a call starts from: tokens, their embedding, and the caches of the layers.
pub struct Opening<'a> {
    /// Token ids `[batch, tokens]`.
    pub tokens: Var,
    /// Their embedding.
    pub embedded: Var,
    /// The caches of the layers.
    pub caches: &'a mut [Cache],
}

impl Opening<'_> {
    /// Position of the first new token.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.caches.first().map_or(0, |c| c.offset())
    }
}

/// Makes the first hidden state and what layers share.
pub type Start<S> = Box<dyn Fn(&Tape<'_>, Opening<'_>) -> (Var, S) + Send + Sync>;

/// Makes the last hidden state from that of the last layer and what layers have shared.
pub type End<S> = Box<dyn Fn(&Tape<'_>, Var, S) -> Var + Send + Sync>;

/// Changes a value: a scaling of the embedding or of the logits.
pub type Hook = Box<dyn Fn(&Tape<'_>, Var) -> Var + Send + Sync>;

/// How a module is packed, by its path.
pub type QuantRule = Box<dyn Fn(&str) -> QuantOverride + Send + Sync>;

/// A decoder: layers that follow one another between an embedding and a head.
pub struct Decoder<S = ()> {
    /// Token embedding.
    pub embed: Box<dyn Embed>,
    /// What happens between the embedding and the first layer.
    pub start: Start<S>,
    /// The layers.
    pub places: Vec<Place<S>>,
    /// What happens between the last layer and the final norm.
    pub end: Option<End<S>>,
    /// Final norm.
    pub norm: Box<dyn Norm>,
    /// Output head.
    pub head: Head,
    /// What happens to the logits.
    pub on_logits: Option<Hook>,
    /// Which part of a layer's cache makes the masks, where the caches are lists.
    pub mask_cache: usize,
    /// The family's `quant_predicate`.
    pub quant_override: QuantRule,
    /// Routed experts.
    pub experts: Option<Experts>,
    /// Longest context the model was made for.
    pub max_context: Option<u64>,
    /// How often the layers of the model are gone through; `places` holds every passage.
    pub rounds: usize,
}

impl<S> Decoder<S> {
    /// Sets the family's `quant_predicate`.
    #[must_use]
    pub fn with_quant_override(
        mut self,
        rule: impl Fn(&str) -> QuantOverride + Send + Sync + 'static,
    ) -> Self {
        self.quant_override = Box::new(rule);
        self
    }

    /// Says which routed experts the model has.
    #[must_use]
    pub fn with_experts(mut self, experts: impl Into<Option<Experts>>) -> Self {
        self.experts = experts.into();
        self
    }

    /// Changes the logits.
    #[must_use]
    pub fn with_logits(
        mut self,
        hook: impl Fn(&Tape<'_>, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        self.on_logits = Some(Box::new(hook));
        self
    }

    /// Layers of the model.
    fn layer_count(&self) -> usize {
        self.places.len() / self.rounds
    }

    /// The cache that the layer at each place works with, counted over the layers' caches, and whether it is its own.
    fn cache_indices(&self) -> Vec<Option<(usize, bool)>> {
        let mut count = 0;
        let mut all: Vec<Option<(usize, bool)>> = Vec::with_capacity(self.places.len());
        for place in &self.places {
            all.push(match place.cache {
                CacheUse::Own(_) => {
                    count += 1;
                    Some((count - 1, true))
                }
                CacheUse::Of(source) => {
                    all.get(source).copied().flatten().map(|(index, _)| (index, false))
                }
                CacheUse::Nothing => None,
            });
        }
        all
    }

    /// The mask of every place. Places with the same rule share the mask that the cache of the first of them makes.
    fn masks(
        &self,
        t: &Tape<'_>,
        n: u32,
        indices: &[Option<(usize, bool)>],
        caches: &mut [Cache],
    ) -> Vec<Mask> {
        let mut made: Vec<(MaskRule, Mask)> = Vec::new();
        let mask = |(place, index): (&Place<S>, &Option<(usize, bool)>)| {
            if let Some(&(_, mask)) = made.iter().find(|(rule, _)| *rule == place.rule) {
                return mask;
            }
            let Some(cache) = index.and_then(|(i, _)| caches.get_mut(i)) else {
                return Mask::None;
            };
            let mask = place.rule.build(t, n, cache.part(self.mask_cache));
            made.push((place.rule, mask));
            mask
        };
        self.places.iter().zip(indices).map(mask).collect()
    }
}

impl<S: 'static> Decoder<S> {
    /// The finished model.
    #[must_use]
    pub fn built(self) -> Built {
        let own = self.places.iter().filter_map(|place| match &place.cache {
            CacheUse::Own(kind) => Some(kind.clone()),
            CacheUse::Of(_) | CacheUse::Nothing => None,
        });
        Built {
            layers: self.layer_count() as u64,
            caches: self.embed.cache().into_iter().chain(own).collect(),
            experts: self.experts,
            max_context: self.max_context,
            network: Box::new(self),
        }
    }
}

impl Decoder {
    /// Changes the embedding before the first layer.
    #[must_use]
    pub fn with_embedding(
        mut self,
        hook: impl Fn(&Tape<'_>, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        self.start = Box::new(move |t, call| (hook(t, call.embedded), ()));
        self
    }

    /// Multiplies the embedding by a number.
    #[must_use]
    pub fn with_embedding_scale(self, factor: f64) -> Self {
        self.with_embedding(move |t, h| t.mul(h, factor))
    }
}

impl<S> Network for Decoder<S> {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let leading = usize::from(self.embed.cache().is_some()).min(caches.len());
        let (own, caches) = caches.split_at_mut(leading);
        let embedded = self.embed.embed(t, tokens, own.first_mut());
        for (i, cache) in caches.iter_mut().enumerate() {
            if !t.skips_cache(leading + i) {
                cache.trim_front(t);
            }
        }
        let (layers, indices) = (self.layer_count(), self.cache_indices());
        let masks = self.masks(t, t.dim(tokens, 1), &indices, caches);
        let (mut h, mut shared) =
            (self.start)(t, Opening { tokens, embedded, caches: &mut *caches });
        let mut none = Cache::none();
        for (i, (place, index)) in self.places.iter().zip(indices).enumerate() {
            let layer = i % layers;
            if t.skips(layer) {
                continue;
            }
            t.layer(layer);
            let cache = match index {
                Some((index, _)) => caches.get_mut(index).unwrap_or(&mut none),
                None => &mut none,
            };
            let at = At { mask: masks[i], cache, shared: &mut shared };
            h = place.layer.run(t, h, at);
        }
        t.set_stage(Stage::Head);
        if let Some(end) = &self.end {
            h = end(t, h, shared);
        }
        let logits = self.head.forward(t, self.norm.forward(t, h));
        match &self.on_logits {
            Some(hook) => hook(t, logits),
            None => logits,
        }
    }

    fn quant_override(&self, path: &str) -> QuantOverride {
        (self.quant_override)(path)
    }

    fn layers(&self) -> Option<Vec<LayerUse>> {
        let leading = usize::from(self.embed.cache().is_some());
        let uses = self.places.iter().zip(self.cache_indices()).enumerate();
        let layers = uses.map(|(i, (place, index))| LayerUse {
            cache: index.and_then(|(index, own)| own.then_some(leading + index)),
            mask: place.rule.number(place.source.then_some(i)),
        });
        (self.rounds == 1).then(|| layers.collect())
    }
}
