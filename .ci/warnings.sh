#!/usr/bin/env bash
# The one header of ours that only generated C includes, which is built without -Wconversion: compiled alone, under all
# warnings. FASTCONV_WERROR=1 covers the rest in the build itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Wconversion -Wno-unused-function -Werror -Isrc -include src/driver.h \
    -x c -c /dev/null -o /dev/null
