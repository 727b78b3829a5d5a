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

/// What layers share, apart from the call it belongs to: `Var<'static>` names what is a `Var<'t>` in a call with the
/// values `'t`.
pub trait Carry: 'static {
    /// What the layers of one call share.
    type On<'t>;
}

impl Carry for () {
    type On<'t> = ();
}

impl Carry for u32 {
    type On<'t> = Self;
}

impl Carry for Var<'static> {
    type On<'t> = Var<'t>;
}

impl<C: Carry> Carry for Option<C> {
    type On<'t> = Option<C::On<'t>>;
}

impl<A: Carry, B: Carry> Carry for (A, B) {
    type On<'t> = (A::On<'t>, B::On<'t>);
}

/// One layer of a decoder. `S` is what the layers of the family share besides the hidden state.
///
/// A layer may leave something in `shared` for those behind it. That is sound in a call that leaves layers out where
/// later layers read what the nearest one of a kind has left; a layer to whose values others come back by its place is
/// a [`Place::source`].
pub trait Layer<S: Carry>: Send + Sync {
    /// The hidden state after the layer.
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, S>) -> Var<'t>;
}

/// What a layer gets besides the hidden state.
pub struct At<'a, 't, S: Carry> {
    /// The mask of its rule.
    pub mask: Mask<'t>,
    /// Its cache, or the one it reads; an empty list where it has none.
    pub cache: &'a mut Cache,
    /// What the layers share.
    pub shared: &'a mut S::On<'t>,
}

/// A layer that shares nothing with others but the hidden state.
pub trait Block: Send + Sync {
    /// The hidden state after the layer.
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t>;
}

impl<S: Carry, T: Block + ?Sized> Layer<S> for T {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, S>) -> Var<'t> {
        Block::forward(self, x, at.mask, at.cache)
    }
}

impl<T: Block + ?Sized> Block for Box<T> {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        (**self).forward(x, mask, cache)
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
pub struct Place<S: Carry> {
    rule: MaskRule,
    cache: CacheUse,
    source: bool,
    layer: Box<dyn Layer<S>>,
}

impl<S: Carry> Place<S> {
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

impl<S: Carry, B: Block + 'static> From<(MaskRule, B)> for Place<S> {
    fn from((rule, block): (MaskRule, B)) -> Self {
        Self::new(rule, block)
    }
}

impl<S: Carry, B: Block + 'static> From<(MaskRule, CacheKind, B)> for Place<S> {
    fn from((rule, kind, block): (MaskRule, CacheKind, B)) -> Self {
        Self::new(rule, block).caching(kind)
    }
}

/// Token ids to the first hidden state.
pub trait Embed: Send + Sync {
    /// The rows of the tokens `[batch, tokens, width]`; `cache` is its own if it has one.
    fn embed<'t>(&self, tokens: Var<'t>, cache: Option<&mut Cache>) -> Var<'t>;

    /// The class of its cache, which stands before those of the layers.
    fn cache(&self) -> Option<CacheKind> {
        None
    }
}

impl Embed for Embedding {
    fn embed<'t>(&self, tokens: Var<'t>, _: Option<&mut Cache>) -> Var<'t> {
        self.forward(tokens)
    }
}

/// What a call starts from: tokens, their embedding, and the caches of the layers.
pub struct Opening<'a, 't> {
    /// Token ids `[batch, tokens]`.
    pub tokens: Var<'t>,
    /// Their embedding.
    pub embedded: Var<'t>,
    /// The caches of the layers.
    pub caches: &'a mut [Cache],
}

impl Opening<'_, '_> {
    /// Position of the first new token.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.caches.first().map_or(0, |c| c.offset())
    }
}

/// Makes the first hidden state and what layers share.
pub type Start<S> =
    Box<dyn for<'t> Fn(Opening<'_, 't>) -> (Var<'t>, <S as Carry>::On<'t>) + Send + Sync>;

/// Makes the last hidden state from that of the last layer and what layers have shared.
pub type End<S> = Box<dyn for<'t> Fn(Var<'t>, <S as Carry>::On<'t>) -> Var<'t> + Send + Sync>;

/// Changes a value: a scaling of the embedding or of the logits.
pub type Hook = Box<dyn Fn(Var<'_>) -> Var<'_> + Send + Sync>;

/// How a module is packed, by its path.
pub type QuantRule = Box<dyn Fn(&str) -> QuantOverride + Send + Sync>;

/// A decoder: layers that follow one another between an embedding and a head.
pub struct Decoder<S: Carry = ()> {
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

impl<S: Carry> Decoder<S> {
    /// Sets the family's `quant_predicate`.
    #[must_use]
    pub fn with_quant_override(
        mut self,
        rule: impl Fn(&str) -> QuantOverride + Send + Sync + 'static,
    ) -> Self {
        self.quant_override = Box::new(rule);
        self
    }

    /// Says how the family's `quant_predicate` treats the modules whose paths end with one of `names`.
    #[must_use]
    pub fn with_packing(mut self, treated: QuantOverride, names: &'static [&'static str]) -> Self {
        let others = self.quant_override;
        let listed = |path: &str| names.iter().any(|name| path.ends_with(name));
        self.quant_override =
            Box::new(move |path| if listed(path) { treated } else { others(path) });
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
        hook: impl Fn(Var<'_>) -> Var<'_> + Send + Sync + 'static,
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
    fn masks<'t>(
        &self,
        t: &'t Tape<'t>,
        n: u32,
        indices: &[Option<(usize, bool)>],
        caches: &mut [Cache],
    ) -> Vec<Mask<'t>> {
        let mut made: Vec<(MaskRule, Mask<'_>)> = Vec::new();
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

impl<S: Carry> Decoder<S> {
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
            division: None,
            network: Box::new(self),
        }
    }
}

impl Decoder {
    /// Changes the embedding before the first layer.
    #[must_use]
    pub fn with_embedding(
        mut self,
        hook: impl Fn(Var<'_>) -> Var<'_> + Send + Sync + 'static,
    ) -> Self {
        self.start = Box::new(move |call| (hook(call.embedded), ()));
        self
    }

    /// Multiplies the embedding by a number.
    #[must_use]
    pub fn with_embedding_scale(self, factor: f64) -> Self {
        self.with_embedding(move |h| h * factor)
    }
}

impl<S: Carry> Network for Decoder<S> {
    fn forward<'t>(&self, tokens: Var<'t>, caches: &mut [Cache]) -> Var<'t> {
        let t = tokens.tape();
        let leading = usize::from(self.embed.cache().is_some()).min(caches.len());
        let (own, caches) = caches.split_at_mut(leading);
        let embedded = self.embed.embed(tokens, own.first_mut());
        for (i, cache) in caches.iter_mut().enumerate() {
            if !t.skips_cache(leading + i) {
                cache.trim_front(t);
            }
        }
        let (layers, indices) = (self.layer_count(), self.cache_indices());
        let masks = self.masks(t, tokens.dim(1), &indices, caches);
        let (mut h, mut shared) = (self.start)(Opening { tokens, embedded, caches: &mut *caches });
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
            h = place.layer.run(h, at);
        }
        t.set_stage(Stage::Head);
        if let Some(end) = &self.end {
            h = end(h, shared);
        }
        let logits = self.head.forward(self.norm.forward(h));
        match &self.on_logits {
            Some(hook) => hook(logits),
            None => logits,
        }
    }

    fn quant_override(&self, path: &str) -> QuantOverride {
        (self.quant_override)(path)
    }

    fn layers(&self) -> Vec<LayerUse> {
        let count = self.layer_count();
        let leading = usize::from(self.embed.cache().is_some());
        let mut layers = vec![LayerUse::default(); count];
        for (i, (place, index)) in self.places.iter().zip(self.cache_indices()).enumerate() {
            let layer = &mut layers[i % count];
            layer.caches.extend(index.filter(|(_, own)| *own).map(|(index, _)| leading + index));
            layer.masks.push(place.rule.number(place.source.then_some(i)));
        }
        layers
    }
}
