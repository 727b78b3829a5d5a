#!/bin/sh
# Installs mlxplan @VERSION@: downloads the archive of this system, compares its checksum, and puts the program, its man
# pages and completions below a folder (by default ~/.local). Nothing needs root, and nothing else is changed.
#
#   sh install.sh [--prefix DIR] [--from ADDRESS]
set -eu

version="@VERSION@"
prefix="${HOME:?HOME is not set; name a folder with --prefix}/.local"
from="https://github.com/mlxplan/mlxplan/releases/download/v$version"

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --prefix) prefix="${2:?--prefix needs a folder}"; shift 2 ;;
    --from) from="${2:?--from needs an address}"; shift 2 ;;
    *) fail "unknown argument '$1'; known: --prefix DIR, --from ADDRESS" ;;
    esac
done

case "$(uname -s)-$(uname -m)" in
Darwin-arm64) target=aarch64-apple-darwin ;;
Linux-x86_64) target=x86_64-unknown-linux-gnu ;;
Linux-aarch64 | Linux-arm64) target=aarch64-unknown-linux-gnu ;;
*) fail "there is no archive for $(uname -s) $(uname -m); with Rust: cargo install mlxplan" ;;
esac

name="mlxplan-$version-$target"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT INT TERM

fetch() {
    if command -v curl >/dev/null 2>&1; then
        curl --proto '=https,file' --tlsv1.2 -fsSL -o "$folder/$1" "$from/$1"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$folder/$1" "$from/$1"
    else
        fail "neither curl nor wget is here"
    fi || fail "cannot fetch $from/$1"
}

sum() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1"
    else
        shasum -a 256 "$1"
    fi | cut -d ' ' -f 1
}

fetch SHA256SUMS
fetch "$name.tar.gz"
expected="$(awk -v file="$name.tar.gz" '$2 == file { print $1 }' "$folder/SHA256SUMS")"
[ -n "$expected" ] || fail "SHA256SUMS does not name $name.tar.gz"
found="$(sum "$folder/$name.tar.gz")"
[ "$found" = "$expected" ] || fail "the checksum of $name.tar.gz is $found, not $expected; nothing was installed"

tar -xzf "$folder/$name.tar.gz" -C "$folder"
mkdir -p "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions" \
    "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
cp "$folder/$name"/man/*.1 "$prefix/share/man/man1/"
cp "$folder/$name/completions/mlxplan.bash" "$prefix/share/bash-completion/completions/mlxplan"
cp "$folder/$name/completions/_mlxplan" "$prefix/share/zsh/site-functions/"
cp "$folder/$name/completions/mlxplan.fish" "$prefix/share/fish/vendor_completions.d/"
# The new one replaces the old at once, even one that runs.
cp "$folder/$name/mlxplan" "$prefix/bin/mlxplan.new"
chmod 755 "$prefix/bin/mlxplan.new"
mv -f "$prefix/bin/mlxplan.new" "$prefix/bin/mlxplan"

printf 'installed %s\n' "$prefix/bin/mlxplan"
case ":$PATH:" in
*":$prefix/bin:"*) ;;
*) printf 'hint: %s is not in PATH\n' "$prefix/bin" ;;
esac
