//! Packed files that take long, or that are not logs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::packed::SLICE_BYTES;
use super::world::World;

/// A world in which `app.log` was read; while the agent was down it was rotated, and a packed file came before it.
fn with_packed(world: &mut World, name: &str, write: impl FnOnce(&mut dyn Write)) -> PathBuf {
    world.write(5);
    world.start();
    world.deliver();
    world.crash();
    let path = world.log(name);
    let file = File::create(&path).unwrap();
    let mut encoder: Box<dyn Write> = if name.ends_with(".gz") {
        Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::best()))
    } else {
        Box::new(zstd::stream::write::Encoder::new(file, 1).unwrap().auto_finish())
    };
    write(&mut encoder);
    drop(encoder);
    world.stamp(&OpenOptions::new().append(true).open(&path).unwrap());
    fs::rename(world.log("app.log"), world.log("app.log.1")).unwrap();
    path
}

fn zeros(bytes: u64) -> impl FnOnce(&mut dyn Write) {
    move |to| {
        io::copy(&mut io::repeat(0).take(bytes), to).unwrap();
    }
}

#[test]
fn a_small_file_that_unpacks_to_much_is_left_out_and_said() {
    for name in ["app.log.2.zst", "app.log.2.gz"] {
        let mut world = World::new("app.log");
        world.limits.expansion_floor_bytes = 16 << 20;
        with_packed(&mut world, name, zeros(64 << 20));
        world.start();
        world.write(5);
        world.deliver();
        world.check(0);
        let Some(error) = world.error_of(name) else { panic!("{:?}", world.tail().report(0)) };
        assert!(error.contains("it is not shipped") && error.contains("and 16777216 are the most"), "{error}");
        world.deliver();
        assert!(world.error_of(name).is_some(), "as long as it is there");
        fs::remove_file(world.log(name)).unwrap();
        world.deliver();
        assert_eq!(world.error_of(name), None);
    }
}

/// Unpacking takes a slice at each look, and the other logs' batches come between them.
#[test]
fn other_logs_go_on_while_a_packed_one_is_looked_at() {
    let mut world = World::new("*.log");
    world.limits.expansion_floor_bytes = 16 * SLICE_BYTES;
    with_packed(&mut world, "app.log.2.zst", zeros(64 * SLICE_BYTES));
    world.start();
    world.write_text("other.log", "first\n");
    world.gather();
    let mut between = 0;
    while world.tail().inspections.is_working() {
        between += 1;
        assert!(!world.tail().is_empty(), "the end waits for what is in it");
        world.write_text("other.log", "more\n");
        world.pass(100);
        world.pass(5000);
        assert!(world.deliver_one(), "after {between} slices");
        assert!(between < 64, "it ends at its bound");
    }
    assert!(between > 5, "{between} slices");
    world.deliver();
    assert!(world.error_of("app.log.2.zst").is_some());
}

#[test]
fn the_rest_of_a_log_is_found_deep_in_a_packed_file_and_in_order() {
    for ending in ["gz", "zst"] {
        let mut world = World::new("app.log");
        // Longer than two slices, most of it acknowledged before.
        let line = format!("{}\n", "x".repeat(1023));
        let lines = usize::try_from(3 * SLICE_BYTES / 1024).unwrap();
        world.write_text("app.log", &format!("head\n{}", line.repeat(lines)));
        world.start();
        world.deliver();
        assert_eq!(world.messages().len(), lines + 1);
        world.taken.clear();
        world.write_text("app.log", "the rest\n");
        world.crash();
        let (log, packed) = (world.log("app.log"), world.log(&format!("app.log.1.{ending}")));
        let changed = fs::metadata(&log).unwrap().modified().unwrap();
        let text = fs::read(&log).unwrap();
        let bytes = if ending == "gz" {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        } else {
            zstd::encode_all(&text[..], 1).unwrap()
        };
        fs::write(&packed, bytes).unwrap();
        OpenOptions::new().append(true).open(&packed).unwrap().set_modified(changed).unwrap();
        fs::remove_file(&log).unwrap();
        world.write_text("app.log", "after it\n");
        world.start();
        world.deliver();
        assert_eq!(world.messages(), ["the rest", "after it"], "{ending}");
        assert_eq!(world.tail().losses().lost_bytes, 0);
    }
}

#[test]
fn a_packed_file_that_is_cut_off_is_read_as_far_as_it_goes() {
    let mut world = World::new("app.log");
    let path = with_packed(&mut world, "app.log.2.gz", |to| to.write_all(b"packed 1\npacked 2\n").unwrap());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().set_modified(old(&world)).unwrap();
    world.start();
    world.deliver();
    let messages = world.messages();
    assert_eq!(messages.len(), 7, "{messages:?}");
    assert_eq!(messages[5..], ["packed 1", "packed 2"]);
}

/// The time of the last change of the rotated file.
fn old(world: &World) -> SystemTime {
    fs::metadata(world.log("app.log.1")).unwrap().modified().unwrap()
}
