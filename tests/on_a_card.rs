//! The command on a card, for which a stand-in serves (`tests/stand_in/`): whatever order the
//! card's work runs in, the same bytes; results like the CPU's; errors that say what happened. And
//! that the stand-in notices what it is there to notice.

#[path = "common/requirement.rs"]
mod requirement;
#[path = "common/stand_in.rs"]
mod stand_in;
#[path = "common/task.rs"]
mod task;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaStream, result};
use serde_json::Value;
use stand_in::{StandIn, run_tests};
use task::write_task;
use tempfile::TempDir;

/// Three partitions of two networks with pseudo-labels.
const RUN: &str = "train --recipe robust --source source --target target --data-dir . --nepoch 30 \
                   --partition 3 --members 2 --d_common 8 --quiet";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A card for `check`, and a folder with a task.
fn card(check: &str) -> Option<(StandIn, TempDir)> {
    let stand_in = StandIn::new(check)?;
    let folder = TempDir::new().unwrap();
    write_task(folder.path());
    Some((stand_in, folder))
}

/// The command, with work in `order` and other settings of the stand-in.
fn run(
    stand_in: &StandIn,
    order: &str,
    folder: &Path,
    line: &str,
    settings: &[(&str, &str)],
) -> Output {
    let mut command = stand_in.command(env!("CARGO_BIN_EXE_ssan"), order);
    command.args(line.split_whitespace()).current_dir(folder);
    command.envs(settings.iter().copied());
    command.output().expect("the binary runs")
}

fn passes(stand_in: &StandIn, order: &str, folder: &Path, line: &str) -> Output {
    let output = run(stand_in, order, folder, line, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {said}");
    output
}

/// One line of error with all of `words`, and no run left behind.
fn fails(folder: &Path, output: &Output, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(!folder.join("out").exists(), "nothing is left");
}

fn file(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Two runs came to the same bytes.
fn same(folder: &Path, expected: &str, found: &str) {
    for name in ["metrics.jsonl", "predictions.csv", "model-2.safetensors"] {
        let [a, b] = [expected, found].map(|run| file(folder, &format!("{run}/{name}")));
        assert!(a == b, "{name} of {found}");
    }
}

fn losses(metrics: &[u8]) -> Vec<f64> {
    let lines = text(metrics);
    let loss = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["total"].as_f64().expect("a loss")
    };
    lines.lines().map(loss).collect()
}

#[test]
fn a_run_gives_the_same_bytes_in_whatever_order_work_runs() {
    let Some((stand_in, folder)) = card("one run in several orders") else {
        return;
    };
    let at = folder.path();
    let runs = [
        ("first", "needed", ""),
        ("others", "others", ""),
        ("random", "3", ""),
        ("plain", "others", "--no-graph"),
        ("second", "needed", ""),
    ];
    for (out, order, more) in runs {
        let line = format!("{RUN} --device cuda --out {out} {more}");
        passes(&stand_in, order, at, &line);
        let [kernels, graphs] = stand_in.launches();
        assert!(kernels > 1000, "{out}: {kernels} launches");
        assert_eq!(graphs > 0, more.is_empty(), "{out}: {graphs} replays");
        same(at, "first", out);
    }
    // Rounding is another on the CPU, which tells over the epochs.
    passes(
        &stand_in,
        "needed",
        at,
        &format!("{RUN} --device cpu --out cpu"),
    );
    assert_eq!(stand_in.launches(), [0, 0]);
    let [card, cpu] =
        ["first", "cpu"].map(|run| losses(&file(at, &format!("{run}/metrics.jsonl"))));
    assert_eq!(card.len(), cpu.len());
    for (n, (card, cpu)) in card.iter().zip(&cpu).enumerate() {
        let most = if n < 60 { 1e-5 } else { 1e-2 };
        assert!((card - cpu).abs() < most * cpu, "line {n}: {card}, {cpu}");
    }
}

#[test]
fn partitions_train_one_after_the_other_where_memory_is_short() {
    let Some((stand_in, folder)) = card("partitions in groups on a card") else {
        return;
    };
    let at = folder.path();
    let line = format!("{RUN} --device cuda --json");
    let whole = passes(&stand_in, "others", at, &format!("{line} --out whole"));
    let [side_by_side, _] = stand_in.launches();
    let little = [("SSAN_STAND_IN_MEMORY", "90000")];
    let parts = format!("{line} --out parts");
    let parts = run(&stand_in, "others", at, &parts, &little);
    assert!(parts.status.success(), "{}", text(&parts.stderr));
    let [in_groups, _] = stand_in.launches();
    assert_eq!(in_groups, 3 * side_by_side, "a partition at a time");
    let [whole, parts]: [Value; 2] =
        [whole, parts].map(|output| serde_json::from_slice(&output.stdout).expect("JSON"));
    assert_eq!(parts["partitions"], whole["partitions"]);
}

#[test]
fn what_a_card_refuses_is_an_error_that_says_so() {
    let Some((stand_in, folder)) = card("what a card refuses") else {
        return;
    };
    let at = folder.path();
    let line = format!("{RUN} --out out");
    let on = |more: &str, settings: &[(&str, &str)]| {
        run(&stand_in, "needed", at, &format!("{line} {more}"), settings)
    };
    let small = on("--device cuda", &[("SSAN_STAND_IN_MEMORY", "20000")]);
    fails(at, &small, &["memory", "--d_common"]);
    let two = [("SSAN_STAND_IN_DEVICES", "2")];
    fails(at, &on("--device cuda:2", &two), &["cuda:2", "cuda:1"]);
    let none = [("SSAN_STAND_IN_DEVICES", "0")];
    fails(at, &on("--device cuda", &none), &["no CUDA device"]);
    let old = [("SSAN_STAND_IN_CAPABILITY", "7.5")];
    fails(at, &on("--device cuda", &old), &["sm_75", "sm_80"]);
    stand_in.reports();
    let broken = [("SSAN_STAND_IN_FAIL", "softmax:1")];
    fails(at, &on("--device cuda", &broken), &["a kernel failed"]);
}

#[test]
fn a_run_whose_card_fails_is_kept_and_goes_on() {
    let Some((stand_in, folder)) = card("a card that fails") else {
        return;
    };
    let at = folder.path();
    let line = format!("{RUN} --device cuda --checkpoint-every 5");
    passes(&stand_in, "needed", at, &format!("{line} --out whole"));
    let broken = [("SSAN_STAND_IN_FAIL", "softmax:20")];
    let failed = run(
        &stand_in,
        "others",
        at,
        &format!("{line} --out out"),
        &broken,
    );
    assert_eq!(failed.status.code(), Some(1));
    let said = text(&failed.stderr);
    assert!(said.contains("a kernel failed"), "{said}");
    stand_in.reports();
    passes(&stand_in, "others", at, "train --resume out");
    stand_in.launches();
    same(at, "whole", "out");
}

/// Whether this is not the stand-in's process. Then the test `name` has run in one, and `check` has
/// seen what that has reported as wrong.
fn elsewhere(name: &str, order: &str, check: impl Fn(&[String])) -> bool {
    if stand_in::inside() {
        return false;
    }
    if let Some(stand_in) = StandIn::new(name) {
        let output = run_tests(&stand_in, order, &[name, "--exact"]);
        let said = text(&[output.stdout, output.stderr].concat());
        assert!(output.status.success(), "{said}");
        let mut wrong = Vec::new();
        for report in stand_in.reports() {
            let list = report["wrong"].as_array().expect("a list").iter();
            wrong.extend(list.map(|what| what.as_str().expect("text").to_string()));
        }
        check(&wrong);
    }
    true
}

/// A context and two streams.
fn streams() -> (Arc<CudaContext>, [Arc<CudaStream>; 2]) {
    let context = CudaContext::new(0).unwrap();
    // SAFETY: the tests order their work themselves, or mean not to.
    unsafe { context.disable_event_tracking() };
    let streams = [(); 2].map(|()| context.new_stream().unwrap());
    (context, streams)
}

/// One number on the card is set on one stream and read on the other.
fn read_elsewhere(wait: bool) -> u8 {
    let (context, [first, second]) = streams();
    let mut found = [0];
    // SAFETY: the memory is there until both streams are done.
    unsafe {
        let memory = result::malloc_sync(1).unwrap();
        result::memset_d8_async(memory, 5, 1, second.cu_stream()).unwrap();
        let event = context.new_event(None).unwrap();
        event.record(&second).unwrap();
        if wait {
            first.wait(&event).unwrap();
        }
        result::memcpy_dtoh_async(&mut found, memory, first.cu_stream()).unwrap();
        first.synchronize().unwrap();
        second.synchronize().unwrap();
        result::free_sync(memory).unwrap();
    }
    found[0]
}

#[test]
fn a_wait_that_is_missing_shows() {
    let nothing = |wrong: &[String]| assert!(wrong.is_empty(), "{wrong:?}");
    if elsewhere("a_wait_that_is_missing_shows", "needed", nothing) {
        return;
    }
    assert_eq!(read_elsewhere(true), 5);
    assert_eq!(
        read_elsewhere(false),
        255,
        "as memory is before it is written"
    );
}

#[test]
fn a_graph_s_nodes_run_as_their_edges_say() {
    let nothing = |wrong: &[String]| assert!(wrong.is_empty(), "{wrong:?}");
    if elsewhere("a_graph_s_nodes_run_as_their_edges_say", "others", nothing) {
        return;
    }
    let (context, [first, second]) = streams();
    let mut found = Vec::new();
    for wait in [true, false] {
        let mut byte = [0_u8];
        // SAFETY: the memory is there until the stream is done.
        unsafe {
            let memory = result::malloc_sync(1).unwrap();
            let [fork, middle, join] = [(); 3].map(|()| context.new_event(None).unwrap());
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            first.begin_capture(mode).unwrap();
            fork.record(&first).unwrap();
            second.wait(&fork).unwrap();
            result::memset_d8_async(memory, 1, 1, first.cu_stream()).unwrap();
            middle.record(&first).unwrap();
            if wait {
                second.wait(&middle).unwrap();
            }
            result::memset_d8_async(memory, 2, 1, second.cu_stream()).unwrap();
            join.record(&second).unwrap();
            first.wait(&join).unwrap();
            let graph = first
                .end_capture(CUgraphInstantiate_flags(0))
                .unwrap()
                .unwrap();
            graph.launch().unwrap();
            result::memcpy_dtoh_async(&mut byte, memory, first.cu_stream()).unwrap();
            first.synchronize().unwrap();
            result::free_sync(memory).unwrap();
        }
        found.push(byte[0]);
    }
    assert_eq!(found, [2, 1]);
}

#[test]
fn what_a_driver_need_not_notice_is_reported() {
    let all = |wrong: &[String]| {
        for part in [
            "freed that waiting work",
            "an allocation during a capture",
            "not in the card's memory",
        ] {
            let reported = wrong.iter().any(|what| what.contains(part));
            assert!(reported, "{part:?}: {wrong:?}");
        }
    };
    if elsewhere("what_a_driver_need_not_notice_is_reported", "needed", all) {
        return;
    }
    let (context, [first, second]) = streams();
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: what is wrong is refused, or waits for nothing else.
    unsafe {
        // Memory that is too small, and gone too early.
        let memory = result::malloc_sync(4).unwrap();
        let beyond = result::memset_d8_async(memory, 1, 5, first.cu_stream());
        assert_eq!(beyond.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
        result::memset_d8_async(memory, 1, 4, first.cu_stream()).unwrap();
        first.synchronize().unwrap();
        // Allocating breaks a capture.
        first.begin_capture(mode).unwrap();
        assert!(result::malloc_sync(4).is_err());
        let broken = first.end_capture(CUgraphInstantiate_flags(0)).map(drop);
        assert_eq!(
            broken.unwrap_err().0,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        );
        // A stream that is not joined again.
        first.begin_capture(mode).unwrap();
        let fork = context.new_event(None).unwrap();
        fork.record(&first).unwrap();
        second.wait(&fork).unwrap();
        result::memset_d8_async(memory, 1, 4, second.cu_stream()).unwrap();
        let open = first.end_capture(CUgraphInstantiate_flags(0)).map(drop);
        assert_eq!(
            open.unwrap_err().0,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED
        );
        result::memset_d8_async(memory, 1, 4, first.cu_stream()).unwrap();
        result::free_sync(memory).unwrap();
    }
}
