//! placeholder
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::copy("../vipd-ebpf/vipd.bpf.o", format!("{out}/vipd.bpf.o")).unwrap();
    println!("cargo::rerun-if-changed=../vipd-ebpf/vipd.bpf.o");
}
