//! Tests of offers.
