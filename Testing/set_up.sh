# What Testing/demo and Testing/run share; sourced from the top of the repository.

# Make .venv in the top folder, once, and use its Python.
use_venv() {
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; then
        echo "Python 3.10, 3.11 or 3.12 is needed, found $("$python" --version 2>&1): install one and name it, e.g." \
            "PYTHON=python3.11 bash $0" >&2
        exit 1
    fi
    if [ ! -x .venv/bin/pip ] && ! "$python" -m venv .venv; then
        rm -rf .venv
        echo "Python cannot make a virtual environment: install its venv module (Debian/Ubuntu: apt-get install" \
            "python3-venv), then repeat." >&2
        exit 1
    fi
    export PATH="$PWD/.venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
}

# Install exactly the files whose hashes are in the lists; arguments are passed on to pip.
install_pinned() {
    python -m pip install --quiet --require-hashes --only-binary :all: "$@"
}

# Install PyTorch: its CPU build where pip finds it, otherwise PyPI's.
install_torch() {
    install_pinned --no-deps --requirement Testing/requirements-torch-cpu.txt 2>/dev/null ||
        install_pinned --requirement Testing/requirements-torch.txt
}

# Install what Qt and VTK need to draw without a display; Debian/Ubuntu as root, otherwise say what is missing.
need_graphics_libraries() {
    local packages=(libegl1 libgl1 libgl1-mesa-dri libglx-mesa0 libxkbcommon0 libdbus-1-3 libfontconfig1) missing=()
    if ! command -v dpkg-query >/dev/null; then
        echo "Not Debian or Ubuntu: if libraries are missing, install those of ${packages[*]} (EGL, OpenGL, Mesa," \
            "xkbcommon, dbus, fontconfig)."
        return
    fi
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "System libraries are missing. Run: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
