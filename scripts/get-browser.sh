#!/usr/bin/env bash
# Gets a headless Chromium with its driver from Debian, and Selenium from PyPI; prints the folder of the latter.
#
#   scripts/get-browser.sh           get them if they are not there yet
#   scripts/get-browser.sh --check   only say whether they are there (exit status 0 or 1)
#
# Exit status 3: they cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
packages=(chromium-headless-shell chromium-driver)
selenium='selenium==4.*'

works() {
    command -v chromedriver >/dev/null && command -v chromium-headless-shell >/dev/null &&
        [ "$(cat "$cache/browser/.complete" 2>/dev/null)" = "$selenium" ]
}

case "${1:-}" in
    --check)
        if works; then echo "$cache/browser"; exit 0; fi
        echo "browser: not on this machine; run scripts/get-browser.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/browser.lock"
flock 9
if ! works; then
    python=$("$here/get-readers.sh") || exit 3
    if ! command -v chromedriver >/dev/null || ! command -v chromium-headless-shell >/dev/null; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "browser: install Debian's packages ${packages[*]}" >&2
            exit 3
        fi
        echo "browser: installing ${packages[*]}" >&2
        (apt-get -qq update && apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "${packages[@]}") >/dev/null 2>&1 ||
            { echo "browser: Debian's packages ${packages[*]} cannot be installed" >&2; exit 3; }
    fi
    rm -rf "$cache/browser"
    "$python" -m pip install --quiet --disable-pip-version-check --target "$cache/browser" "$selenium" >&2 ||
        { echo "browser: Selenium cannot be installed" >&2; exit 3; }
    echo "$selenium" > "$cache/browser/.complete"
    works || { echo "browser: was installed but is not found" >&2; exit 1; }
fi
echo "$cache/browser"
