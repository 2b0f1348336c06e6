//! The shared libraries of a program, which have to be those that the base image has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The glibc of Debian 12. A program that was linked with a newer one may ask for what is not there.
const GLIBC: (u32, u32) = (2, 36);
/// What distroless/cc-debian12 has: Debian's libc6, libgcc-s1, libstdc++6, libgomp1 and libssl3.
const BASE: [&str; 14] = [
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libgomp.so.1",
    "libssl.so.3",
    "libcrypto.so.3",
];

/// The libraries of a program, by their paths here. An error if the base image does not have one of them.
pub(super) fn of(binary: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let told = output_of(Command::new("ldd").arg(binary))?;
    print!("{told}");
    let libraries = paths(&told)?;
    let missing: Vec<_> = libraries
        .iter()
        .filter(|path| {
            !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| BASE.contains(&name))
        })
        .collect();
    anyhow::ensure!(missing.is_empty(), "the base image does not have {missing:?}");
    let versions = output_of(Command::new("readelf").args(["--version-info", "--wide"]).arg(binary))?;
    let newest = newest_glibc(&versions).context("the program names no version of glibc")?;
    anyhow::ensure!(newest <= GLIBC, "the program needs glibc {newest:?}, and the base image has {GLIBC:?}");
    println!("needs glibc {}.{}; the base image has {}.{}", newest.0, newest.1, GLIBC.0, GLIBC.1);
    Ok(libraries)
}

fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("cannot run {}", name.display()))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{} ended with {}: {told}", name.display(), output.status);
    Ok(told)
}

/// The paths in what `ldd` prints: `name => path (address)`, or the loader's path alone. The kernel's own has none.
fn paths(ldd: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in ldd.lines().map(str::trim) {
        let name = line.split(" => ").next().unwrap_or_default();
        anyhow::ensure!(!line.contains("not found"), "{name} is not on this machine");
        let path = line.split(" => ").last().and_then(|rest| rest.split_whitespace().next());
        paths.extend(path.filter(|path| path.starts_with('/')).map(PathBuf::from));
    }
    Ok(paths)
}

/// The newest version in names such as `GLIBC_2.34`.
fn newest_glibc(readelf: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let versions = readelf.split("GLIBC_").skip(1).filter_map(|text| {
        let (major, rest) = text.split_once('.')?;
        Some((number(major)?, number(rest)?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_ldd_prints_them() {
        let ldd = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/libm.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let wanted = ["/lib/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths(ldd).unwrap(), wanted);
        assert!(paths("\tlibodd.so => not found\n").unwrap_err().to_string().contains("libodd.so"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(newest_glibc("Name: GLIBC_2.4\n Name: GLIBC_2.34  Flags\n GLIBC_2.2.5"), Some((2, 34)));
        assert_eq!(newest_glibc("Name: GCC_3.0"), None);
    }

    #[test]
    fn this_very_program_names_its_libraries() {
        let own = std::env::current_exe().unwrap();
        let libraries = of(&own).unwrap();
        assert!(libraries.iter().any(|path| path.ends_with("libc.so.6")), "{libraries:?}");
    }
}
