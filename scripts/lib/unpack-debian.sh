# Unpacks Debian packages with everything that they need into a folder of their own.
# Nothing on the machine is installed or changed: apt-get works on lists, caches and a package state of its own.
# Sourced by get-mysql.sh and get-mariadb.sh.

# The address of the machine's own Debian mirror, from its own apt sources; nothing is printed when there is none.
debian_mirror() {
    {
        # deb822 style: the stanza whose components include "main" and whose keyring is the archive's.
        awk 'BEGIN { RS = ""; FS = "\n" }
             { uri = ""; main = 0
               for (i = 1; i <= NF; i++) {
                   if ($i ~ /^URIs:/) { split($i, part, " "); uri = part[2] }
                   if ($i ~ /^Components:.*main/) main = 1
               }
               if (uri != "" && main) print uri }' /etc/apt/sources.list.d/*.sources 2>/dev/null
        # one-line style
        sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?\([a-z+]*:[^[:space:]]*\)[[:space:]].*main.*$/\2/p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
    } | grep -v -e security -e ubuntu | grep -m 1 debian || true
}

# unpack_debian NAME SUITE TARGET PACKAGE...
# Leaves TARGET complete or not at all, and TARGET/.packages as the list of what was unpacked.
# Returns 3 when the suite or its packages cannot be reached.
unpack_debian() {
    local name=$1 suite=$2 target=$3
    shift 3
    local tool
    for tool in apt-get dpkg; do
        if ! command -v "$tool" >/dev/null; then
            echo "$name: this machine has no $tool; only Debian-like machines can unpack $name" >&2
            return 3
        fi
    done
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(debian_mirror)
    if [ -z "$mirror" ] || [ ! -e "$keyring" ]; then
        echo "$name: no Debian mirror in this machine's apt sources, or no $keyring" >&2
        return 3
    fi

    local work="$target.part" log
    rm -rf "$work"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/empty" "$work/root"
    log="$work/apt/log"
    : > "$work/apt/status"
    echo "deb [signed-by=$keyring] $mirror $suite main" > "$work/apt/sources.list"
    local apt=(apt-get -qq
        -o Dir::State::Lists="$work/apt/lists" -o Dir::State::status="$work/apt/status"
        -o Dir::Cache="$work/apt/cache" -o Dir::Cache::archives="$work/apt/cache/archives"
        -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$work/apt/empty"
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Languages=none
        -o Acquire::Retries=3 -o Acquire::http::Timeout=30
        -o APT::Install-Recommends=false -o APT::Get::Assume-Yes=true)

    echo "$name: reading the package list of Debian $suite" >&2
    # apt-get checks the list's signature, and each package against the checksum in that list.
    if ! "${apt[@]}" update >"$log" 2>&1 || grep -q '^E:' "$log"; then
        echo "$name: Debian $suite cannot be reached:" >&2
        tail -n 3 "$log" >&2
        return 3
    fi
    echo "$name: downloading $*" >&2
    if ! "${apt[@]}" --download-only install "$@" >"$log" 2>&1; then
        echo "$name: its packages cannot be downloaded from Debian $suite:" >&2
        tail -n 3 "$log" >&2
        return 3
    fi
    local package
    for package in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/root" --no-same-owner --keep-directory-symlink
        basename "$package"
    done > "$work/root/.packages"
    rm -rf "$target"
    mv "$work/root" "$target"
    rm -rf "$work"
}

# The dynamic loader that was unpacked into a folder, for the machine's own kind of processor.
unpacked_loader() {
    local candidate
    for candidate in "$1"/usr/lib/*/ld-linux-*.so.* "$1"/lib/*/ld-linux-*.so.*; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

# run_unpacked ROOT PROGRAM ARGUMENT... : runs a program of the folder with the folder's own loader and libraries.
run_unpacked() {
    local root=$1 program=$2 loader triplet
    shift 2
    loader=$(unpacked_loader "$root") || return 127
    triplet=$(basename "$(dirname "$loader")")
    "$loader" --library-path "$root/usr/lib/$triplet:$root/lib/$triplet" "$root/$program" "$@"
}
