"""Builds the one extension module, and one static library for each instruction set (only these get its flags)."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, CompileError, LinkError, PlatformError

X86 = platform.machine().lower() in {"x86_64", "amd64"}
WINDOWS = sys.platform == "win32"

# gnu11, not c11: the latter forbids contraction to FMA. Never -march=native (a wheel runs elsewhere) and never
# -ffast-math (at link it turns denormals off for the whole process).
C_FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
C_FLAGS += ["-Wall", "-Wextra", "-Wconversion", "-Werror=implicit-function-declaration"]
ISA_FLAGS = {"baseline": []}
if X86:
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]

HEADERS = [str(p) for p in Path("src").rglob("*") if p.suffix in {".h", ".inc"}] + [
    str(p) for p in Path("src/algorithms").glob("*.c")
]
NO_COMPILER = """
fastconv is compiled from C, and no working C compiler was found ({reason}).
Install one and try again:
  Debian, Ubuntu   apt install build-essential python3-dev
  Fedora           dnf install gcc python3-devel
  macOS            xcode-select --install
  Windows          the "C++ Clang tools for Windows" of the Visual Studio build tools (clang-cl)
"""


def openmp_flags(compiler) -> tuple[list[str], list[str]]:
    """Compile and link flags for OpenMP, or none where a probe does not link (the build is then serial)."""
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        prefix = os.environ.get("LIBOMP_PREFIX", "/opt/homebrew/opt/libomp")
        candidates = [(["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lomp"])]
    if WINDOWS:
        candidates = [(["/openmp"], [])]
    if os.environ.get("FASTCONV_NO_OPENMP"):
        candidates = []
    for compile_args, link_args in candidates:
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = compiler.compile([str(probe)], output_dir=folder, extra_postargs=compile_args)
                compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=link_args)
            except (CCompilerError, CompileError, LinkError, PlatformError):
                continue
            return compile_args, link_args
    print("fastconv: OpenMP was not found: this build computes on one thread", file=sys.stderr)
    return [], []


class BuildLibraries(build_clib):
    """build_clib, with a message that helps where there is no compiler."""

    def build_libraries(self, libraries) -> None:
        try:
            super().build_libraries(libraries)
        except (CCompilerError, PlatformError) as error:
            raise SystemExit(NO_COMPILER.format(reason=error)) from error


class BuildExtension(build_ext):
    """build_ext, after the instruction sets' libraries, with OpenMP where it can be had."""

    def run(self) -> None:
        self.run_command("build_clib")  # `build_ext --inplace` alone does not
        clib = self.get_finalized_command("build_clib")
        self.library_dirs = [*(self.library_dirs or []), clib.build_clib]
        super().run()

    def build_extensions(self) -> None:
        compile_args, link_args = openmp_flags(self.compiler)
        for extension in self.extensions:
            extension.extra_compile_args += compile_args
            extension.extra_link_args += link_args
        super().build_extensions()


setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastconv._engine",
                ["src/_engine.pyx", "src/cpu.c"],
                include_dirs=["src", np.get_include()],
                depends=HEADERS,
                define_macros=[
                    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                    ("FC_FLAGS", '"' + "; ".join(f"{isa}: {' '.join(C_FLAGS + f)}" for isa, f in ISA_FLAGS.items()) + '"'),
                    *[(f"FC_HAVE_{isa.upper()}", "1") for isa in ISA_FLAGS if isa != "baseline"],
                ],
                extra_compile_args=["-O2", "-std=gnu11", "-fvisibility=hidden"] if not WINDOWS else [],
                extra_link_args=[] if WINDOWS or sys.platform == "darwin" else ["-Wl,--exclude-libs,ALL"],
            )
        ],
        build_dir="build",
    ),
    libraries=[
        (
            f"fc_{isa}",
            {"sources": [f"src/isa_{isa}.c"], "include_dirs": ["src"], "cflags": C_FLAGS + flags, "obj_deps": {"": HEADERS}},
        )
        for isa, flags in ISA_FLAGS.items()
    ],
    cmdclass={"build_ext": BuildExtension, "build_clib": BuildLibraries},
)
