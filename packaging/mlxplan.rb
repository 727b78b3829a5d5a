# Made by `cargo xtask release` from packaging/mlxplan.rb.
class Mlxplan < Formula
  desc "Capacity planner for language models on Apple Silicon that shows its error bars"
  homepage "https://github.com/mlxplan/mlxplan"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    depends_on arch: :arm64
    url "@MACOS_ARM_URL@"
    sha256 "@MACOS_ARM_SHA256@"
  end

  on_linux do
    on_arm do
      url "@LINUX_ARM_URL@"
      sha256 "@LINUX_ARM_SHA256@"
    end
    on_intel do
      url "@LINUX_INTEL_URL@"
      sha256 "@LINUX_INTEL_SHA256@"
    end
  end

  def install
    bin.install "mlxplan"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/mlxplan.bash" => "mlxplan"
    zsh_completion.install "completions/_mlxplan"
    fish_completion.install "completions/mlxplan.fish"
  end

  def caveats
    "Planning needs nothing else. To calibrate and validate with MLX in process: pipx install mlxplan"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/mlxplan --version")
    assert_match "tok/s", shell_output("#{bin}/mlxplan predict --model qwen3-8b-4bit --mac m4max-40/64")
  end
end
