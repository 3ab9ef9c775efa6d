#!/bin/sh
# Installs polylens from its source into a new environment: what the image's build runs, and any machine can.
#
#   sh deploy/install.sh SOURCE TARGET cpu|cuda [EXTRAS]
#
# EXTRAS are separated by commas. PYTHON names another interpreter, TORCH_INDEX another index for torch.
set -eu

if [ $# -lt 3 ]; then
  echo "install.sh needs SOURCE, TARGET and cpu or cuda, got $# arguments" >&2
  exit 2
fi
source=$1 target=$2 accelerator=$3 extras=${4:-}

case $accelerator in
  cpu) index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu} ;; # the default index has builds for CUDA: 3 GB more
  cuda) index=${TORCH_INDEX-} ;;
  *)
    echo "install.sh installs torch for cpu or cuda, got '$accelerator'" >&2
    exit 2
    ;;
esac

"${PYTHON:-python3}" -m venv "$target"
pip() {
  "$target/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@"
}
pip install --no-cache-dir --constraint "$source/constraints.txt" ${index:+--extra-index-url "$index"} torch
pip install --no-cache-dir --constraint "$source/constraints.txt" "$source${extras:+[$extras]}"
"$target/bin/polylens" --version
