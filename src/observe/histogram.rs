//! Counts of values by size, in the manner of Prometheus.
//!
//! Owns: buckets and their bounds. Does not know: names, labels, how it is shown.

/// Bounds of `kiln_task_duration_seconds`: from a script that does nothing to a compiler on a slow machine.
pub const DURATION_SECONDS: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0];

/// Bounds of `kiln_task_queue_duration_seconds`.
pub const QUEUE_SECONDS: &[f64] = &[0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

/// Bounds of `kiln_task_peak_memory_bytes`: 16 MiB to 16 GiB.
pub const MEMORY_BYTES: &[f64] = &[
    16_777_216.0,
    33_554_432.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    536_870_912.0,
    1_073_741_824.0,
    2_147_483_648.0,
    4_294_967_296.0,
    8_589_934_592.0,
    17_179_869_184.0,
];

/// How many values were at most as large as each bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// By bucket, not cumulative; what is above the last bound is in `count` alone.
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    /// Without values. `bounds` ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len()], count: 0, sum: 0.0 }
    }

    /// One more value.
    pub fn observe(&mut self, value: f64) {
        if let Some(bucket) = self.buckets.get_mut(self.bounds.partition_point(|bound| *bound < value)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Each bound, and how many values were at most as large.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let below = self.buckets.iter().scan(0, |total, bucket| {
            *total += bucket;
            Some(*total)
        });
        self.bounds.iter().copied().zip(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_bucket_that_it_fits_and_all_larger_ones() {
        let mut histogram = Histogram::new(&[1.0, 10.0, 100.0]);
        for value in [0.5, 1.0, 1.5, 99.0, 1000.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1.0, 2), (10.0, 3), (100.0, 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 1102.0));
    }
}
