use proptest::prelude::*;

use super::*;
use crate::hook::HookOutcome;

fn context(time_ms: u64) -> Context {
    Context {
        host: "i-0123456789abcdef0".parse().unwrap(),
        boot_id: "6f1c7f2e".to_owned(),
        time_ms,
        agent_version: "1.2.3".to_owned(),
    }
}

fn group() -> crate::ids::GroupKey {
    crate::ids::GroupKey::new("web".parse().unwrap(), "prod".parse().unwrap())
}

fn event(number: u64) -> Kind {
    Kind::EventFinished {
        deployment: "d-ABCDEFGHI".parse().unwrap(),
        event: format!("Event{number}"),
        outcome: EventOutcome::Failed,
        message: Some("a \"quoted\" line\nand a second one".to_owned()),
    }
}

/// A history of this many records, and its end.
fn history(records: u64) -> (Vec<Vec<u8>>, Chain) {
    let mut chain = Chain::default();
    let lines = (0..records).map(|i| chain.append(&context(i), event(i)).unwrap().line.into_bytes()).collect();
    (lines, chain)
}

fn found(lines: &[Vec<u8>], anchors: impl IntoIterator<Item = Anchor>) -> Vec<Finding> {
    verify(lines.iter().map(Vec::as_slice), anchors)
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let requested = Requester { by: RequesterKind::Cli, name: Some("root".to_owned()) };
    let deployment: crate::ids::DeploymentId = "d-1".parse().unwrap();
    let digest = Sha256Digest::of(b"x");
    let kinds = [
        Kind::DeploymentStarted {
            deployment: deployment.clone(),
            group: group(),
            purpose: Some(DeploymentPurpose::Removal),
            revision: Some(digest),
            label: Some("1.4.2".parse().unwrap()),
            location: "s3://b/k".to_owned(),
            sequence: Some(u64::MAX),
            release_digest: None,
            signature: crate::release::Trust::Unsigned,
            requested: requested.clone(),
        },
        event(1),
        Kind::HookFinished {
            deployment: deployment.clone(),
            event: "AfterInstall".to_owned(),
            location: "scripts/x.sh".to_owned(),
            outcome: HookOutcome::TimedOut { killed: vec!["12 sleep".to_owned()] },
            started_ms: 1,
            finished_ms: 2,
            output_digest: Some(digest),
        },
        Kind::InstallFinished { deployment: deployment.clone(), entries: 3, entries_digest: digest },
        Kind::InstallUndone { deployment: deployment.clone(), reason: "full".to_owned() },
        Kind::DeploymentFinished { deployment: deployment.clone(), outcome: DeploymentOutcome::Stopped, message: None },
        Kind::Rollback {
            failed: Some(deployment.clone()),
            group: group(),
            to: deployment,
            revision: Some(digest),
            requested: requested.clone(),
        },
        Kind::Hold { group: group(), sequence: 7, requested: requested.clone() },
        Kind::Resume { group: group(), requested: requested.clone() },
        Kind::Removed { group: group(), requested },
        Kind::RecordsLeftOut { records: 12 },
        Kind::Recovered(Recovered {
            lost_bytes: 3,
            missing_from: Some(4),
            missing_to: Some(5),
            ..Recovered::default()
        }),
    ];
    let mut chain = Chain::default();
    for (i, kind) in kinds.into_iter().enumerate() {
        let head = chain.head;
        let record = chain.append(&context(9), kind.clone()).unwrap();
        assert!(!record.line.contains('\n'), "{}", record.line);
        let entry = Entry::parse(record.line.as_bytes()).unwrap();
        assert_eq!((entry.seq, entry.prev_hash, entry.time_ms, entry.kind), (i as u64, head, 9, kind));
        assert_eq!(chain.head, Some(hash(record.line.as_bytes())));
    }
}

#[test]
fn a_line_is_written_in_the_documented_words() {
    let mut chain = Chain::default();
    let line = chain.append(
        &context(5),
        Kind::Resume { group: group(), requested: Requester { by: RequesterKind::Channel, name: None } },
    );
    assert_eq!(
        line.unwrap().line,
        r#"{"domain":"hostler/history/1","seq":0,"prev_hash":null,"host":"i-0123456789abcdef0","boot_id":"6f1c7f2e","time_ms":5,"agent_version":"1.2.3","kind":"resume","group":{"application":"web","group":"prod"},"requested":{"by":"channel"}}"#
    );
    // SHA-256 of "hostler/history/1{}", computed with coreutils: the domain comes first.
    assert_eq!(hash(b"{}"), Sha256Digest::of(b"hostler/history/1{}"));
}

#[test]
fn a_kind_of_a_newer_version_is_still_part_of_the_chain() {
    let mut chain = Chain::default();
    let record = chain.append(&context(5), event(1)).unwrap();
    let newer = record.line.replace("event_finished", "teleported");
    assert_eq!(Entry::parse(newer.as_bytes()).unwrap().kind, Kind::Unknown);
    let other = record.line.replace(DOMAIN, "hostler/history/2");
    let error = Entry::parse(other.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("hostler/history/2"), "{error}");
}

#[test]
fn an_untouched_history_has_no_findings() {
    for records in [0, 1, 2, 30] {
        let (lines, chain) = history(records);
        assert_eq!(found(&lines, chain.anchor()), []);
        let every: Vec<_> = lines.iter().enumerate().map(|(i, l)| Anchor { seq: i as u64, hash: hash(l) }).collect();
        assert_eq!(found(&lines, every), []);
    }
}

#[test]
fn findings_name_the_place() {
    let (lines, chain) = history(10);
    let anchor = chain.anchor();
    let mut edited = lines.clone();
    edited[3] = String::from_utf8(lines[3].clone()).unwrap().replace("Event3", "Event4").into_bytes();
    assert_eq!(found(&edited, anchor), [Finding::BrokenLink { line: 5, seq: 4 }]);

    let mut removed = lines.clone();
    removed.drain(3..5);
    assert_eq!(found(&removed, anchor), [Finding::Missing { line: 4, from: 3, to: 4 }]);
    assert_eq!(found(&removed, anchor)[0].to_string(), "line 4: records 3 to 4 are missing before it");

    let mut doubled = lines.clone();
    doubled.insert(4, lines[3].clone());
    assert_eq!(found(&doubled, anchor), [Finding::OutOfOrder { line: 5, seq: 3, due: 4 }]);

    assert_eq!(found(&lines[..8], anchor), [Finding::Cut { anchored: 9, highest: Some(7) }]);
    assert_eq!(found(&[], anchor), [Finding::Cut { anchored: 9, highest: None }]);
    assert_eq!(found(&lines[2..], anchor), [Finding::Missing { line: 1, from: 0, to: 1 }]);

    let mut last = lines.clone();
    last[9].push(b' ');
    assert_eq!(found(&last, anchor), [Finding::NotAsAnchored { seq: 9 }]);

    let mut garbage = lines.clone();
    garbage.insert(5, b"garbage".to_vec());
    assert!(matches!(found(&garbage, anchor)[..], [Finding::NotARecord { line: 6, .. }]));

    // A history that was rewritten from the beginning is a valid chain: only an anchor reveals it.
    let mut other = Chain::default();
    let anew: Vec<_> = (0..10).map(|i| other.append(&context(100 + i), event(i)).unwrap().line.into_bytes()).collect();
    assert_eq!(found(&anew, other.anchor()), []);
    assert_eq!(found(&anew, anchor), [Finding::NotAsAnchored { seq: 9 }]);
}

/// One way of tampering.
#[derive(Debug, Clone)]
enum Tampering {
    Byte { line: usize, at: usize, to: u8 },
    Remove { from: usize, count: usize },
    Swap { a: usize, b: usize },
    Repeat { line: usize, to: usize },
    Move { from: usize, to: usize },
    Cut { keep: usize },
    Drop { count: usize },
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let n = 0usize..1000;
    prop_oneof![
        (n.clone(), n.clone(), any::<u8>()).prop_map(|(line, at, to)| Tampering::Byte { line, at, to }),
        (n.clone(), 1usize..4).prop_map(|(from, count)| Tampering::Remove { from, count }),
        (n.clone(), n.clone()).prop_map(|(a, b)| Tampering::Swap { a, b }),
        (n.clone(), n.clone()).prop_map(|(line, to)| Tampering::Repeat { line, to }),
        (n.clone(), n.clone()).prop_map(|(from, to)| Tampering::Move { from, to }),
        n.clone().prop_map(|keep| Tampering::Cut { keep }),
        (1usize..5).prop_map(|count| Tampering::Drop { count }),
    ]
}

fn tamper(lines: &mut Vec<Vec<u8>>, how: &Tampering) {
    let n = lines.len();
    if n == 0 {
        return;
    }
    match *how {
        Tampering::Byte { line, at, to } => {
            let line = &mut lines[line % n];
            let length = line.len();
            if length > 0 {
                line[at % length] = to;
            }
        }
        Tampering::Remove { from, count } => {
            let from = from % n;
            lines.drain(from..(from + count).min(n));
        }
        Tampering::Swap { a, b } => lines.swap(a % n, b % n),
        Tampering::Repeat { line, to } => lines.insert(to % (n + 1), lines[line % n].clone()),
        Tampering::Move { from, to } => {
            let line = lines.remove(from % n);
            lines.insert(to % n, line);
        }
        Tampering::Cut { keep } => lines.truncate(keep % n),
        Tampering::Drop { count } => drop(lines.drain(..count.min(n))),
    }
}

proptest! {

    /// With the end anchored, every deviation from the written history is found.
    #[test]
    fn all_tampering_is_found(records in 1u64..20, how in prop::collection::vec(tampering(), 1..4)) {
        let (lines, chain) = history(records);
        let mut tampered = lines.clone();
        how.iter().for_each(|h| tamper(&mut tampered, h));
        let findings = found(&tampered, chain.anchor());
        prop_assert_eq!(findings.is_empty(), tampered == lines, "{:?}", findings);
    }

    /// Without any anchor, only a changed or cut end can go unseen.
    #[test]
    fn without_anchors_only_the_end_is_open(records in 2u64..20, how in prop::collection::vec(tampering(), 1..4)) {
        let (lines, _) = history(records);
        let mut tampered = lines.clone();
        how.iter().for_each(|h| tamper(&mut tampered, h));
        let end = tampered.len().saturating_sub(1);
        if tampered.get(..end) != lines.get(..end) {
            prop_assert!(!found(&tampered, None).is_empty());
        }
    }

    /// An anchor covers the records before it, even if everything after it is gone.
    #[test]
    fn an_anchor_covers_what_is_before_it(records in 2u64..20, at in 0u64..20, how in tampering()) {
        let (lines, _) = history(records);
        let at = at % records;
        let anchor = Anchor { seq: at, hash: hash(&lines[at as usize]) };
        let mut tampered = lines.clone();
        tamper(&mut tampered, &how);
        let covered = ..=at as usize;
        if tampered.get(covered) != lines.get(covered) {
            prop_assert!(!found(&tampered, Some(anchor)).is_empty());
        }
    }
}

/// A host's reconciliation, on bytes instead of a file.
fn reconcile_bytes(file: &[u8], state: Option<&HistoryState>) -> Reconciled {
    let mut scan = Scan::new(state);
    for line in file.split_inclusive(|b| *b == b'\n') {
        if let Some(line) = line.strip_suffix(b"\n") {
            scan.line(line, line.len() as u64 + 1);
        }
    }
    reconcile(scan, file.len() as u64, &context(77)).unwrap()
}

fn apply(file: &mut Vec<u8>, plan: &Reconciled) {
    file.truncate(plan.keep_bytes as usize);
    plan.append.iter().for_each(|record| write(file, record));
}

fn write(file: &mut Vec<u8>, record: &Record) {
    file.extend_from_slice(record.line.as_bytes());
    file.push(b'\n');
}

fn findings(file: &[u8], state: &HistoryState) -> Vec<Finding> {
    let mut verifier = Verifier::new(state.chain.anchor());
    for line in file.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => verifier.line(line),
            None => verifier.torn(line.len() as u64),
        }
    }
    verifier.finish()
}

/// A file with settled records, and a state with pending ones that the file does not have yet.
fn settled_and_pending(settled: u64, pending: u64) -> (Vec<u8>, HistoryState) {
    let mut file = Vec::new();
    let mut state = HistoryState::default();
    for i in 0..settled {
        write(&mut file, &state.append(&context(i), event(i)).unwrap());
    }
    state.settled();
    for i in 0..pending {
        state.append(&context(settled + i), event(settled + i)).unwrap();
    }
    (file, state)
}

#[test]
fn agreeing_file_and_ledger_are_left_alone() {
    for settled in [0, 1, 5] {
        let (mut file, mut state) = settled_and_pending(settled, 3);
        state.pending.iter().for_each(|r| write(&mut file, r));
        for _ in 0..2 {
            let plan = reconcile_bytes(&file, Some(&state));
            assert_eq!((plan.keep_bytes, plan.append.len(), plan.recovered), (file.len() as u64, 0, None));
            assert_eq!(plan.state, state);
            state.settled();
        }
    }
    let nothing = reconcile_bytes(b"", None);
    assert_eq!((nothing.append.len(), nothing.recovered, nothing.state), (0, None, HistoryState::default()));
}

#[test]
fn a_crash_at_any_byte_of_the_file_loses_nothing() {
    for settled in [0, 4] {
        let (file, state) = settled_and_pending(settled, 2);
        let mut whole = file.clone();
        state.pending.iter().for_each(|r| write(&mut whole, r));
        for length in file.len()..=whole.len() {
            let mut torn = whole[..length].to_vec();
            let plan = reconcile_bytes(&torn, Some(&state));
            let ends_whole = torn.is_empty() || torn.ends_with(b"\n");
            assert_eq!(plan.recovered.is_none(), ends_whole, "{length}");
            apply(&mut torn, &plan);
            assert!(torn.starts_with(&whole), "{length}: a pending record is not there");
            assert_eq!(findings(&torn, &plan.state), [], "{length}");
            // A second reconciliation changes nothing.
            let again = reconcile_bytes(&torn, Some(&plan.state));
            assert_eq!((again.append.len(), again.recovered), (0, None), "{length}");
        }
    }
}

#[test]
fn unsynced_pages_that_came_back_as_zeros_are_cut_and_written_again() {
    let (settled, state) = settled_and_pending(4, 3);
    let mut whole = settled.clone();
    state.pending.iter().for_each(|r| write(&mut whole, r));
    let mut zeros = whole.clone();
    let middle = settled.len() + state.pending[0].line.len() / 2;
    zeros[settled.len()..middle].fill(0);
    let plan = reconcile_bytes(&zeros, Some(&state));
    assert_eq!(plan.keep_bytes, settled.len() as u64);
    assert_eq!(plan.recovered.unwrap().lost_bytes, (whole.len() - settled.len()) as u64);
    apply(&mut zeros, &plan);
    assert!(zeros.starts_with(&whole));
    assert_eq!(findings(&zeros, &plan.state), []);
}

#[test]
fn a_record_in_the_place_of_a_pending_one_is_cut_and_the_pending_one_written() {
    let (settled, state) = settled_and_pending(4, 2);
    let head = Entry::parse(state.pending[0].line.as_bytes()).unwrap().prev_hash;
    let mut forger = Chain { next_seq: 4, head };
    let mut forged = settled.clone();
    write(&mut forged, &forger.append(&context(99), event(99)).unwrap());
    let plan = reconcile_bytes(&forged, Some(&state));
    assert_eq!(plan.keep_bytes, settled.len() as u64);
    assert_eq!(plan.append[..2], state.pending);
    apply(&mut forged, &plan);
    assert_eq!(findings(&forged, &plan.state), []);
}

#[test]
fn records_that_the_ledger_forgot_are_taken_over() {
    let (mut file, mut state) = settled_and_pending(4, 0);
    let old = state.clone();
    for i in 0..2 {
        write(&mut file, &state.append(&context(i), event(i)).unwrap());
    }
    let before = file.clone();
    for known in [Some(&old), None, Some(&HistoryState::default())] {
        let plan = reconcile_bytes(&file, known);
        let expected = if known == Some(&old) { 2 } else { 6 };
        assert_eq!(plan.recovered.unwrap().unknown_to_ledger, expected, "{known:?}");
        assert_eq!(plan.append[0].seq, 6);
        let mut file = file.clone();
        apply(&mut file, &plan);
        assert!(file.starts_with(&before));
        assert_eq!(findings(&file, &plan.state), []);
    }
}

#[test]
fn settled_records_that_are_gone_are_named_and_their_numbers_not_used_again() {
    let (file, state) = settled_and_pending(6, 2);
    let lines: Vec<_> = file.split_inclusive(|b| *b == b'\n').collect();
    let mut cut = lines[..3].concat();
    let plan = reconcile_bytes(&cut, Some(&state));
    let recovered = plan.recovered.unwrap();
    assert_eq!((recovered.missing_from, recovered.missing_to), (Some(3), Some(5)));
    assert!(recovered.changed);
    assert_eq!(plan.append.iter().map(|r| r.seq).collect::<Vec<_>>(), [6, 7, 8]);
    apply(&mut cut, &plan);
    assert_eq!(findings(&cut, &plan.state), [Finding::Missing { line: 4, from: 3, to: 5 }]);
    // The whole file is gone.
    let mut gone = Vec::new();
    let plan = reconcile_bytes(&gone, Some(&state));
    assert_eq!(plan.append.iter().map(|r| r.seq).collect::<Vec<_>>(), [6, 7, 8]);
    apply(&mut gone, &plan);
    assert_eq!(findings(&gone, &plan.state), [Finding::Missing { line: 1, from: 0, to: 5 }]);
}

#[test]
fn an_edited_last_record_stays_as_evidence_and_stays_visible() {
    let (file, state) = settled_and_pending(6, 0);
    let mut edited = String::from_utf8(file).unwrap().replace("Event5", "Event9").into_bytes();
    let before = edited.clone();
    let plan = reconcile_bytes(&edited, Some(&state));
    assert!(plan.recovered.unwrap().changed);
    apply(&mut edited, &plan);
    assert!(edited.starts_with(&before));
    assert_eq!(findings(&edited, &plan.state), [Finding::BrokenLink { line: 7, seq: 6 }]);
}

proptest! {
    /// After any change of the file, an appended record is one of the ledger's, byte for byte, or has a number that
    /// neither file nor ledger has used; and a second reconciliation changes nothing.
    #[test]
    fn numbers_are_never_used_twice(
        settled in 0u64..8, pending in 0u64..4, written in 0usize..5, known: bool,
        how in prop::collection::vec(tampering(), 0..3), cut in 0usize..300,
    ) {
        let (mut file, state) = settled_and_pending(settled, pending);
        state.pending.iter().take(written).for_each(|r| write(&mut file, r));
        let mut lines: Vec<Vec<u8>> = file.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        how.iter().for_each(|h| tamper(&mut lines, h));
        let mut file = lines.join(&b'\n');
        file.truncate(file.len().saturating_sub(cut));

        let plan = reconcile_bytes(&file, known.then_some(&state));
        prop_assert!(plan.keep_bytes <= file.len() as u64);
        apply(&mut file, &plan);
        prop_assert!(file.is_empty() || file.ends_with(b"\n"));
        let numbers: Vec<u64> = file
            .split(|b| *b == b'\n').filter_map(|l| Link::parse(l).ok()).map(|l| l.seq).collect();
        let kept = &numbers[..numbers.len() - plan.append.len()];
        for record in &plan.append {
            let known_to_the_ledger = known && state.pending.contains(record);
            let new = if known { record.seq >= state.chain.next_seq } else { kept.iter().all(|n| record.seq > *n) };
            prop_assert!(known_to_the_ledger || new, "{:?} after {:?}", record, kept);
            prop_assert!(plan.state.chain.next_seq > record.seq);
        }
        let again = reconcile_bytes(&file, Some(&plan.state));
        prop_assert_eq!((again.append.len(), again.recovered, again.keep_bytes), (0, None, file.len() as u64));
        prop_assert_eq!(again.state.chain, plan.state.chain);
    }
}

#[test]
fn what_a_full_disk_keeps_pending_is_bounded_and_what_is_left_out_is_told() {
    let mut state = HistoryState::default();
    for number in 0..2000 {
        state.note(&context(number), event(number)).unwrap();
    }
    let bytes = |state: &HistoryState| serde_json::to_vec(state).unwrap().len();
    assert!(state.left_out > 1000 && bytes(&state) < 160 << 10, "{} left out, {} bytes", state.left_out, bytes(&state));
    assert!(state.wants_sync());
    let left_out = state.left_out;
    assert_eq!(state.pending.len() as u64 + left_out, 2000);
    // The numbers continue without a gap, and the chain verifies.
    state.settled();
    state.note(&context(3000), event(3000)).unwrap();
    assert_eq!((state.left_out, state.pending.len()), (0, 2));
    let told = Entry::parse(state.pending[0].line.as_bytes()).unwrap();
    assert_eq!((told.seq, told.kind), (2000 - left_out, Kind::RecordsLeftOut { records: left_out }));
}
