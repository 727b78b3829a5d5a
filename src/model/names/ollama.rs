//! Names of Ollama's library that do not follow from the model's own name.

/// Library name and tag, and the model. From the pages of the library; sizes in tags are rounded.
const LIBRARY: [(&str, &str); 30] = [
    ("deepseek-r1:7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
    ("deepseek-r1:8b", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"),
    ("deepseek-r1:14b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"),
    ("deepseek-r1:32b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"),
    ("deepseek-r1:70b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"),
    ("deepseek-r1:671b", "deepseek-ai/DeepSeek-R1"),
    ("deepseek-v3:671b", "deepseek-ai/DeepSeek-V3"),
    ("deepseek-v3.1:671b", "deepseek-ai/DeepSeek-V3.1"),
    ("deepseek-coder-v2:16b", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"),
    ("deepseek-v2:16b", "deepseek-ai/DeepSeek-V2-Lite-Chat"),
    ("mistral:7b", "mistralai/Mistral-7B-Instruct-v0.3"),
    ("mistral:latest", "mistralai/Mistral-7B-Instruct-v0.3"),
    ("mistral-nemo:12b", "mistralai/Mistral-Nemo-Instruct-2407"),
    ("mistral-small:24b", "mistralai/Mistral-Small-24B-Instruct-2501"),
    ("mistral-small3.1:24b", "mistralai/Mistral-Small-3.1-24B-Instruct-2503"),
    ("mistral-small3.2:24b", "mistralai/Mistral-Small-3.2-24B-Instruct-2506"),
    ("devstral-small-2:24b", "mistralai/Devstral-Small-2-24B-Instruct-2512"),
    ("devstral-2:123b", "mistralai/Devstral-2-123B-Instruct-2512"),
    ("phi3:3.8b", "microsoft/Phi-3-mini-4k-instruct"),
    ("phi3:mini", "microsoft/Phi-3-mini-4k-instruct"),
    ("phi3.5:3.8b", "microsoft/Phi-3.5-mini-instruct"),
    ("phi4:14b", "microsoft/phi-4"),
    ("phi4-mini:3.8b", "microsoft/Phi-4-mini-instruct"),
    ("command-r:35b", "CohereLabs/c4ai-command-r-v01"),
    ("command-r7b:7b", "CohereLabs/c4ai-command-r7b-12-2024"),
    ("llama4:scout", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    ("llama4:16x17b", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    ("qwen3-next:80b", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
    ("nemotron-3-nano:30b", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
    ("tinyllama:1.1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
];

/// The name and tag of Ollama's library that a text is: `gemma3:27b`, `library/gemma3:27b`.
pub(super) fn tag(text: &str) -> Option<&str> {
    let text = ["ollama.com/library/", "registry.ollama.ai/library/", "library/"]
        .iter()
        .find_map(|front| text.strip_prefix(front))
        .unwrap_or(text);
    let (name, tag) = text.split_once(':')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    (plain(name) && plain(tag)).then_some(text)
}

/// The model of a tag without its format (`deepseek-r1:32b`), where the name does not say it.
pub(super) fn model(stem: &str) -> Option<&'static str> {
    let wanted = super::key(stem);
    LIBRARY.iter().find(|(tag, _)| super::key(tag) == wanted).map(|(_, id)| *id)
}
