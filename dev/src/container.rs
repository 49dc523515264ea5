//! `cargo dev container`: the image of the sink, built and tried without a container engine.
//!
//! In: the sources. Out: `TARGET-DIR/container/weir-sink.tar`, an image for `podman load` and `docker load`,
//! with a static program, the certificates of this machine's authorities and a list of what is in it.
//! With `--test` the sink runs from its root file system, as its user, with nothing but its folder
//! writable, in the whole line with a real Kafka and a real Cassandra. Needs buildah and, for the test,
//! root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cross::Kit;
use crate::step::{Outcome, Steps, output, status};
use crate::{tools, workspace};

mod sbom;

const TRIPLE: &str = "x86_64-unknown-linux-musl";
const PROGRAM: &str = "weir-sink";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Builds the image, and tries it.
pub(crate) fn make(steps: &mut Steps, test: bool) {
    steps.step("kit", || {
        tools::buildah()?;
        Kit::make(TRIPLE)
    });
    if steps.failed("kit") {
        return steps.skip("image", "it needs the kit");
    }
    steps.step("build", || {
        let args = ["zigbuild", "--locked", "--release", "-p", PROGRAM, "--target", TRIPLE];
        let mut cargo = Kit::find()?.cargo();
        // Those of the agent leave out what archives of the highest levels need.
        cargo.env_remove("CFLAGS");
        cargo
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        status(cargo.args(args))
    });
    if steps.failed("build") {
        return steps.skip("image", "it needs the program");
    }
    steps.step("image", image);
    if test && !steps.failed("image") {
        steps.cargo("programs", &["build", "--workspace", "--bins"], &[]);
        steps.step("container", attempt);
    }
}

/// Where everything of the image is.
fn folder() -> PathBuf {
    workspace::target().join("container")
}

/// buildah with a storage of its own, so that the machine's is not touched.
fn buildah(args: &[&str]) -> Command {
    let mut command = Command::new("buildah");
    let storage = folder();
    command.arg("--storage-driver=vfs");
    command.arg(format!("--root={}", storage.join("storage").display()));
    command.arg(format!("--runroot={}", storage.join("run").display()));
    command.args(args);
    command
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

fn image() -> Outcome {
    let context = folder().join("context");
    let make =
        |path: &Path| fs::create_dir_all(path).map_err(|e| format!("{}: {e}", path.display()));
    make(&context.join("state"))?;
    let root = workspace::root();
    let program = workspace::target().join(TRIPLE).join("release").join(PROGRAM);
    copy(&program, &context.join(PROGRAM))?;
    copy(Path::new(CERTIFICATES), &context.join("ca-certificates.crt"))?;
    copy(&root.join("LICENSE"), &context.join("LICENSE"))?;
    let tree = ["tree", "--locked", "-p", PROGRAM, "--edges", "normal", "--target", TRIPLE];
    let tree =
        output(workspace::cargo().args(tree).args(["--prefix", "none", "--format", "{p}\t{l}"]))?;
    // `{p}` is name, version and, for our own crates, a path.
    let line = |line: &str| {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        format!("{name}\t{version}\t{}\n", licence.trim_end_matches(" (*)"))
    };
    let tree: String = tree.lines().map(line).collect();
    let version = env!("CARGO_PKG_VERSION");
    let sbom = sbom::cyclonedx(PROGRAM, version, &tree)?;
    fs::write(context.join("sbom.cdx.json"), sbom).map_err(|e| e.to_string())?;

    let containerfile = root.join("sink/packaging/Containerfile").display().to_string();
    let tag = format!("{PROGRAM}:{version}");
    // OCI's own format knows no health check.
    let build = ["build", "--isolation=chroot", "--format=docker", "--layers=false"];
    let context = context.display().to_string();
    status(buildah(&build).args(["--tag", &tag, "--file", &containerfile, &context]))?;
    let archive = folder().join("weir-sink.tar");
    // An archive that is there would be added to.
    let _ = fs::remove_file(&archive);
    status(&mut buildah(&["push", &tag, &format!("docker-archive:{}", archive.display())]))?;
    let bytes = fs::metadata(&archive).map_err(|e| e.to_string())?.len();
    println!("{:>8}  {}: {bytes} bytes", "", archive.display());
    Ok(None)
}

fn attempt() -> Outcome {
    let tag = format!("{PROGRAM}:{}", env!("CARGO_PKG_VERSION"));
    let container = output(&mut buildah(&["from", "--pull-never", &tag]))?.trim().to_owned();
    let tried = output(&mut buildah(&["mount", &container])).and_then(|root| {
        let mut command = workspace::cargo();
        command.args(["run", "--quiet", "-p", "weir-tests", "--bin", "weir-container", "--"]);
        status(command.arg(root.trim()))
    });
    let removed = status(&mut buildah(&["rm", &container]));
    tried.and(removed)
}
