# Sourced by run.sh and test.sh in the repository root; by itself it only defines functions.
# `prepare` makes .venv and installs what requirements.lock pins, once: the stamp says what is there.
# NEWEST=1 installs the newest versions that pyproject.toml allows instead.

STAMP=.venv/setup.stamp
UNLOCKED=.venv/setup.unlocked # why the versions are not those of requirements.lock
GL_PACKAGES="libegl1 libgl1 libosmesa6 libgl1-mesa-dri"

prepare() {
    own_environment
    if ! setup_needed; then return; fi
    rm -f "$STAMP" # an interrupted installation leaves no stamp
    make_venv
    install_packages
    install_gl
    wanted_stamp >"$STAMP.part"
    mv "$STAMP.part" "$STAMP"
    local python=.venv/bin/python
    [[ ${caller:-$PWD} == "$PWD" ]] || python=$PWD/$python # run.sh was called from elsewhere
    say "done; '$python -m harness.doctor' checks the result"
}

# Variables that would lead Python or pip away from .venv: those of a module system, of another
# application's Python, or of a user who installs with --user elsewhere. Where packages come from
# (PIP_INDEX_URL, PIP_CERT, PIP_CONSTRAINT, ...) stays as it is.
own_environment() {
    unset PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR PYTHONSAFEPATH
    unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS
    export PIP_USER=0 # also against "user = true" in a pip.conf
}

setup_needed() {
    [[ ! -f $STAMP || "$(cat "$STAMP")" != "$(wanted_stamp)" ]]
}

# What an installation depends on; written after it, compared before the next one.
wanted_stamp() {
    cksum pyproject.toml requirements.lock
    echo "newest: ${NEWEST:-}"
    "${PYTHON:-.venv/bin/python}" -V 2>&1 || true
    echo "absent:" $(gl_absent)
}

make_venv() {
    local python clear=""
    python=$(pick_python)
    if [[ -d .venv ]] && ! venv_usable; then clear=--clear; fi
    if [[ -z $clear && -d .venv ]] && .venv/bin/python -c 'import pip' 2>/dev/null; then return; fi
    ensure_venv_module "$python"
    say "making .venv with $("$python" -V)"
    "$python" -m venv $clear .venv
}

# The environment runs, is recent enough and, where PYTHON asks for a version, has it.
venv_usable() {
    recent_enough .venv/bin/python &&
        [[ -z ${PYTHON:-} || "$("$PYTHON" -V)" == "$(.venv/bin/python -V)" ]]
}

pick_python() {
    local name
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if recent_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    die "no Python of 3.11 or later (tried: ${PYTHON:-python3.13 python3.12 python3.11 python3});" \
        "install one, or name it: PYTHON=/path/to/python3 ./run.sh ..."
}

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

ensure_venv_module() {
    local package
    if "$1" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    may_apt || die "Python's venv module is missing; install it and call again:" \
        "sudo apt-get install -y $package"
    say "installing $package"
    apt_update
    apt_install "$package" || die "that failed; install it by hand: apt-get install -y $package"
}

install_packages() {
    local torch pip=(.venv/bin/python -m pip --disable-pip-version-check -qq install)
    torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
    say "installing $torch, the largest package (a minute or two in all)"
    # First and by itself: with the others, pip may prefer a build that is gigabytes larger.
    "${pip[@]}" "$torch" || die "pip could not install $torch for $(.venv/bin/python -V), see" \
        "above; where no version fits this Python, name another: PYTHON=python3.11 ./run.sh ..."
    say "installing the other packages"
    rm -f "$UNLOCKED"
    if [[ -n ${NEWEST:-} ]]; then
        "${pip[@]}" --upgrade --upgrade-strategy eager -e '.[test,field]'
        echo "the newest versions were asked for" >"$UNLOCKED"
    elif ! "${pip[@]}" --constraint requirements.lock -e '.[test,field]'; then
        say "the versions of requirements.lock cannot be had here (see above);" \
            "installing others that pyproject.toml allows"
        "${pip[@]}" -e '.[test,field]'
        echo "versions of requirements.lock could not be had" >"$UNLOCKED"
    fi
    .venv/bin/python -c 'import torch' || die "torch does not load; remove .venv and call again"
}

install_gl() {
    local name absent
    absent=$(gl_absent)
    if [[ -z $absent ]]; then return; fi
    if may_apt; then
        say "installing GL libraries:" $absent
        apt_update
        for name in $absent; do # one by one: newer releases lack some, the others suffice
            apt_install "$name" || say "$name could not be installed; going on without it"
        done
    else
        say "drawing may fail for want of GL libraries; to install them:" \
            "sudo apt-get install -y" $absent
    fi
}

# The GL packages that are not installed; nothing on systems without dpkg.
gl_absent() {
    local name
    if ! command -v dpkg-query >/dev/null; then return; fi
    for name in $GL_PACKAGES; do
        if [[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed* ]]; then
            echo "$name"
        fi
    done
}

may_apt() {
    command -v apt-get >/dev/null && { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }
}

apt_update() {
    as_root apt-get update -qq >/dev/null || say "apt-get update failed; going on"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$1" 2>&1 >/dev/null |
        { grep -v '^debconf: ' >&2 || true; }
}

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

say() {
    printf 'setup: %s\n' "$*" >&2
}

die() {
    say "$@"
    exit 1
}
