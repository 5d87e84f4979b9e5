#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leasehold::fuzz::json_patch::run(data));
