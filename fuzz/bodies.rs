#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leasehold::fuzz::bodies::run(data));
