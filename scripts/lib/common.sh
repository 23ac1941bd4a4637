# Sourced by the scripts above: where the checkout and its environment lie, how to speak, how to become somebody else.
# shellcheck shell=bash

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
SCRIPT=scripts/$(basename -- "$0")
TEST_USER=rootless-test
NEED_DEV=no # whether the script needs what the engine itself does not: tests, checks, benches

# What scripts make in a checkout, everybody may read; and no foreign setting decides what Python imports.
umask 022
unset PYTHONPATH PYTHONHOME

say() { printf '%s: %s\n' "$SCRIPT" "$*"; }
complain() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }
die() {
    complain "$*"
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# --- the environment -------------------------------------------------------------------------------------------------

# pyfuse3 is compiled on the spot: against libfuse3's headers and Python's own (looked for where Debian has them).
can_compile_pyfuse3() {
    command -v gcc >/dev/null && pkg-config --exists fuse3 2>/dev/null &&
        compgen -G '/usr/include/python3*/Python.h' >/dev/null
}

# The first lines of an environment's stamp: what it was made for. The line after them names the extras that were tried.
venv_key() { printf '%s\n%s\n' "$CHECKOUT" "$(sha256sum <"$CHECKOUT/pyproject.toml")"; }

stamp_has() { # EXTRA STAMP
    [[ ,$(sed -n 3p "$2"), == *,$1,* ]]
}

venv_is_fresh() { # VENV
    local stamp=$1/.setup
    [ -x "$1/bin/python" ] && [ -r "$stamp" ] && [ "$(head -n 2 "$stamp")" = "$(venv_key)" ] || return 1
    [ "$NEED_DEV" = no ] || stamp_has dev "$stamp" || return 1
    stamp_has fuse "$stamp" || ! can_compile_pyfuse3
}

# The checkout's own .venv where that is up to date or the caller's to change; else one in the caller's cache.
find_venv() {
    local own=$CHECKOUT/.venv
    if venv_is_fresh "$own" || { [ -e "$own" ] && [ -w "$own" ]; } || { [ ! -e "$own" ] && [ -w "$CHECKOUT" ]; }; then
        printf '%s\n' "$own"
    else
        printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/rootless/venv"
    fi
}

setup() {
    if [ "$NEED_DEV" = yes ]; then "$CHECKOUT/scripts/setup" --tests; else "$CHECKOUT/scripts/setup"; fi
}

# Sets VENV; runs scripts/setup only when there is something to do, so that what follows needs no network.
need_venv() {
    VENV=$(find_venv)
    venv_is_fresh "$VENV" && return
    setup
    VENV=$(find_venv)
}

# --- Debian's packages -----------------------------------------------------------------------------------------------

missing_packages() { # PACKAGE...
    dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        awk -v wanted="$*" '
            $2 == "installed" { there[$1] }
            END { n = split(wanted, names, " "); for (i = 1; i <= n; i++) if (!(names[i] in there)) print names[i] }'
}

# --- somebody else ---------------------------------------------------------------------------------------------------

has_subordinate_ids() { # USER
    if command -v getsubids >/dev/null; then
        getsubids "$1" >/dev/null 2>&1 && getsubids -g "$1" >/dev/null 2>&1
    else
        grep -qs "^$1:" /etc/subuid && grep -qs "^$1:" /etc/subgid
    fi
}

# Arguments of usermod(8) for a range of 65536 ids that nobody has yet.
free_range() {
    local start
    start=$(cat /etc/subuid /etc/subgid 2>/dev/null |
        awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { printf "%d", top }')
    printf -- '--add-subuids %d-%d --add-subgids %d-%d\n' "$start" $((start + 65535)) "$start" $((start + 65535))
}

need_test_user() {
    if ! id "$TEST_USER" >/dev/null 2>&1; then
        useradd --create-home --shell /bin/bash --comment "runs the tests of rootless" "$TEST_USER"
        say "made the unprivileged user $TEST_USER (it stays; \`userdel --remove $TEST_USER\` takes it away)"
    fi
    if ! has_subordinate_ids "$TEST_USER"; then
        # shellcheck disable=SC2046 # two options and their values
        usermod $(free_range) "$TEST_USER"
        say "gave $TEST_USER a range of subordinate ids"
    fi
}

# Run COMMAND with nothing of the caller's environment but what a login has, and with the settings that keep Python and
# hypothesis from leaving files in the checkout: modules are compiled once, as where the package is installed, but
# elsewhere. No XDG_RUNTIME_DIR: as in cron, CI and Slurm.
cleanly() { # HOME USER TMPDIR COMMAND...
    local home=$1 user=$2 tmp=$3
    shift 3
    env -i HOME="$home" USER="$user" LOGNAME="$user" TMPDIR="$tmp" SHELL=/bin/bash LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PYTHONPYCACHEPREFIX="$tmp/pycache" HYPOTHESIS_STORAGE_DIRECTORY="$tmp/hypothesis" \
        PATH="${VENV:+$VENV/bin:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

as_test_user() { # TMPDIR COMMAND...
    local home tmp=$1
    shift
    home=$(getent passwd "$TEST_USER" | cut -d: -f6)
    cleanly "$home" "$TEST_USER" "$tmp" setpriv --reuid "$TEST_USER" --regid "$(id -g "$TEST_USER")" --init-groups \
        --inh-caps=-all -- "$@"
}

# SCRATCH/u is the test user's, who can only pass through SCRATCH.
share_scratch() { # SCRATCH
    chmod 0711 "$1"
    install -d -o "$TEST_USER" -g "$(id -g "$TEST_USER")" -m 0700 "$1/u"
}

# The test user must reach the checkout and its interpreter. Below a closed directory (root's home) they can't: take a copy
# to SCRATCH, with an environment of its own, and go on there.
need_reachable_checkout() { # SCRATCH; changes CHECKOUT and VENV
    local copy=$1/checkout
    as_test_user / "$VENV/bin/python" -c 'import rootless, click' 2>/dev/null && return
    say "$TEST_USER can't reach $CHECKOUT: going on with a copy of it"
    mkdir "$copy"
    tar --create --directory "$CHECKOUT" --exclude=./.git --exclude=./.venv --exclude=__pycache__ --exclude='./.*_cache' . |
        tar --extract --directory "$copy" --no-same-owner
    if [ -d "$CHECKOUT/../shared/images" ]; then # root file systems that tests find beside the checkout
        mkdir "$1/shared" && cp -r "$CHECKOUT/../shared/images" "$1/shared"
        chmod -R go+rX "$1/shared"
    fi
    chmod -R go+rX "$copy"
    CHECKOUT=$copy
    setup
    VENV=$CHECKOUT/.venv
}

# What containers wrote may belong to subordinate ids, which only root or a user namespace with the same ids can remove.
remove_tree() { # DIRECTORY
    rm -rf -- "$1" 2>/dev/null && return
    unshare --map-root-user --map-auto rm -rf -- "$1" 2>/dev/null || rm -rf -- "$1"
}
