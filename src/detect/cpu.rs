//! CPU model, features and power states. The features come from `/proc/cpuinfo`, so that a fixture can tell them; the
//! names are those that the CPUID library behind Node Feature Discovery uses.

use std::collections::{BTreeMap, BTreeSet};

use super::{Feature, Root, truth, yes};

/// Flag words of `/proc/cpuinfo` and the names that labels use. Flags that Node Feature Discovery hides by default
/// (every x86-64 machine of the last decade has them) are left out.
const FLAGS: [(&str, &str); 43] = [
    ("adx", "ADX"),
    ("aes", "AESNI"),
    ("amx_bf16", "AMXBF16"),
    ("amx_fp16", "AMXFP16"),
    ("amx_int8", "AMXINT8"),
    ("amx_tile", "AMXTILE"),
    ("avx", "AVX"),
    ("avx2", "AVX2"),
    ("avx512_bf16", "AVX512BF16"),
    ("avx512_bitalg", "AVX512BITALG"),
    ("avx512_fp16", "AVX512FP16"),
    ("avx512_vbmi2", "AVX512VBMI2"),
    ("avx512_vnni", "AVX512VNNI"),
    ("avx512_vp2intersect", "AVX512VP2INTERSECT"),
    ("avx512_vpopcntdq", "AVX512VPOPCNTDQ"),
    ("avx512bw", "AVX512BW"),
    ("avx512cd", "AVX512CD"),
    ("avx512dq", "AVX512DQ"),
    ("avx512er", "AVX512ER"),
    ("avx512f", "AVX512F"),
    ("avx512ifma", "AVX512IFMA"),
    ("avx512pf", "AVX512PF"),
    ("avx512vbmi", "AVX512VBMI"),
    ("avx512vl", "AVX512VL"),
    ("avx_vnni", "AVXVNNI"),
    ("cldemote", "CLDEMOTE"),
    ("enqcmd", "ENQCMD"),
    ("fma", "FMA3"),
    ("gfni", "GFNI"),
    ("hypervisor", "HYPERVISOR"),
    ("movdir64b", "MOVDIR64B"),
    ("movdiri", "MOVDIRI"),
    ("osxsave", "OSXSAVE"),
    ("rtm", "RTM"),
    ("serialize", "SERIALIZE"),
    ("sha_ni", "SHA"),
    ("svm", "SVM"),
    ("tsxldtrk", "TSXLDTRK"),
    ("vaes", "VAES"),
    ("vmx", "VMX"),
    ("vpclmulqdq", "VPCLMULQDQ"),
    ("waitpkg", "WAITPKG"),
    ("wbnoinvd", "WBNOINVD"),
];

/// arm64 feature words and names.
const ARM_FLAGS: [(&str, &str); 11] = [
    ("aes", "AES"),
    ("asimddp", "DCPOP"),
    ("asimdhp", "ASIMDHP"),
    ("asimdrdm", "ASIMRDM"),
    ("atomics", "ATOMICS"),
    ("evtstrm", "EVSTRM"),
    ("fphp", "FPHP"),
    ("jscvt", "JSCVT"),
    ("pmull", "PMULL"),
    ("sha2", "SHA2"),
    ("sve", "SVE"),
];

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let first = first_processor(root);
    let mut features = flags(&first);
    features.extend(model(&first));
    features.extend(threads(root));
    features.extend(power(root));
    features.extend(security(root));
    features
}

/// The pairs of the first processor in `/proc/cpuinfo`.
fn first_processor(root: &Root) -> BTreeMap<String, String> {
    let text = root.text("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn flags(first: &BTreeMap<String, String>) -> Vec<Feature> {
    let words = |key: &str| -> BTreeSet<&str> {
        first.get(key).map(|line| line.split_whitespace().collect()).unwrap_or_default()
    };
    let (x86, arm) = (words("flags"), words("Features"));
    let named = |present: &BTreeSet<&str>, table: &[(&str, &str)]| -> Vec<Feature> {
        let found = table.iter().filter(|(word, _)| present.contains(word));
        found.map(|(_, name)| yes(&format!("cpu-cpuid.{name}"))).collect()
    };
    [named(&x86, &FLAGS), named(&arm, &ARM_FLAGS)].concat()
}

fn model(first: &BTreeMap<String, String>) -> Vec<Feature> {
    let vendor = match first.get("vendor_id").map(String::as_str) {
        Some("GenuineIntel") => "Intel",
        Some("AuthenticAMD") => "AMD",
        Some("HygonGenuine") => "Hygon",
        Some(_) => "unknown",
        None if first.contains_key("CPU implementer") => "ARM",
        None => return Vec::new(),
    };
    let mut features = vec![("cpu-model.vendor_id".to_owned(), vendor.to_owned())];
    for (key, name) in [("cpu family", "cpu-model.family"), ("model", "cpu-model.id")] {
        features.extend(first.get(key).map(|value| (name.to_owned(), value.clone())));
    }
    features
}

fn threads(root: &Root) -> Option<Feature> {
    let folder = "/sys/devices/system/cpu";
    let siblings: Vec<String> = root
        .names(folder)
        .iter()
        .filter_map(|cpu| root.text(&format!("{folder}/{cpu}/topology/thread_siblings_list")))
        .collect();
    let many = siblings.iter().any(|list| list.contains([',', '-']));
    (!siblings.is_empty()).then(|| truth("cpu-hardware_multithreading", many))
}

fn power(root: &Root) -> Vec<Feature> {
    let mut features = Vec::new();
    if root.text("/sys/devices/system/cpu/cpuidle/current_driver").as_deref() == Some("intel_idle") {
        let deepest = root.number("/sys/module/intel_idle/parameters/max_cstate").unwrap_or_default();
        features.push(truth("cpu-cstate.enabled", deepest > 0));
    }
    let folder = "/sys/devices/system/cpu/intel_pstate";
    let Some(status) = root.text(&format!("{folder}/status")) else { return features };
    let off = status == "off";
    features.push(("cpu-pstate.status".to_owned(), status));
    if let Some(no_turbo) = root.number(&format!("{folder}/no_turbo")).filter(|_| !off) {
        features.push(truth("cpu-pstate.turbo", no_turbo == 0));
    }
    features
}

fn security(root: &Root) -> Vec<Feature> {
    let on = |path: &str| root.text(path).is_some_and(|text| text.starts_with(['1', 'Y', 'y']));
    let table = [
        ("/sys/module/kvm_intel/parameters/tdx", "cpu-security.tdx.enabled"),
        ("/sys/module/kvm_amd/parameters/sev", "cpu-security.sev.enabled"),
        ("/sys/module/kvm_amd/parameters/sev_es", "cpu-security.sev.es.enabled"),
        ("/sys/module/kvm_amd/parameters/sev_snp", "cpu-security.sev.snp.enabled"),
    ];
    table.iter().filter(|(path, _)| on(path)).map(|(_, name)| yes(name)).collect()
}
