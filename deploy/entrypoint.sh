#!/bin/sh
# What the container runs: `polylens` with the container's arguments, on the port that the place it runs in asks for.
#
#   polylens-container serve ...    any command of polylens
#   polylens-container health       exits with 0 once every model can serve requests
set -eu

# SageMaker unpacks a model into this folder; it exists nowhere else.
sagemaker=${SM_MODEL_DIR:-/opt/ml/model}

# The first one that is set: ours, SageMaker's, Vertex AI's, Cloud Run's and App Service's, SageMaker's custom.
if [ -z "${POLYLENS_PORT:-}" ]; then
  POLYLENS_PORT=${SAGEMAKER_BIND_TO_PORT:-${AIP_HTTP_PORT:-${PORT:-}}}
  if [ -z "$POLYLENS_PORT" ]; then
    if [ -d "$sagemaker" ]; then POLYLENS_PORT=8080; else POLYLENS_PORT=8000; fi
  fi
fi
export POLYLENS_PORT

if [ "${1:-}" = health ]; then
  exec python -c "
import sys, urllib.request
try:
    urllib.request.urlopen('http://127.0.0.1:$POLYLENS_PORT/ready', timeout=4)
except OSError as error:
    sys.exit(f'not ready: {error}')"
fi

# A model that the cloud put there, where none is named: SageMaker's folder, Azure's variable.
if [ -z "${POLYLENS_MODELS:-}" ]; then
  for folder in "$sagemaker" "${AZUREML_MODEL_DIR:-}"; do
    if [ -n "$folder" ] && [ -f "$folder/config.json" ]; then
      export POLYLENS_MODELS="$folder"
      break
    fi
  done
fi

exec polylens "$@"
