//! Each kind of rotation at each moment.

use super::super::Losses;
use super::world::{ROTATIONS, Rotation, SECOND, World};

/// Each kind of rotation while the agent runs, while a batch is being sent, while the agent is down, and both.
#[test]
fn the_rotation_matrix() {
    let mut wrong = Vec::new();
    for rotation in ROTATIONS {
        for pattern in ["app.log", "app.log*"] {
            for moment in ["running", "while a batch is out", "down", "down with a batch out", "twice while down"] {
                let mut world = World::new(pattern);
                world.start();
                world.write(100);
                world.deliver();
                world.write(50);
                let mut repeats = 0;
                match moment {
                    "running" => {
                        world.rotate(rotation);
                        world.write(20);
                        world.deliver();
                    }
                    "while a batch is out" => {
                        world.gather();
                        let out = world.next().unwrap();
                        world.write(10);
                        world.rotate(rotation);
                        world.write(20);
                        world.pass(SECOND);
                        world.take(&out);
                        let now = world.now;
                        world.tail().acknowledge(&out.ticket, now);
                    }
                    "down" | "twice while down" => {
                        world.crash();
                        world.rotate(rotation);
                        world.write(20);
                        if moment == "twice while down" {
                            world.rotate(rotation);
                            world.write(20);
                        }
                        world.start();
                    }
                    _ => {
                        world.gather();
                        let out = world.next().unwrap();
                        world.take(&out);
                        repeats = 1;
                        world.crash();
                        world.write(10);
                        world.rotate(rotation);
                        world.write(20);
                        world.start();
                    }
                }
                world.deliver();
                world.write(5);
                world.deliver();
                if let Err(why) = world.checked(repeats) {
                    wrong.push(format!("{rotation:?} of {pattern}, {moment}: {why}"));
                }
                if world.tail().losses() != Losses::default() {
                    wrong.push(format!("{rotation:?} of {pattern}, {moment}: {:?}", world.tail().losses()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_log_that_is_emptied_again_and_again_unseen_keeps_its_order() {
    let mut world = World::new("app.log");
    world.start();
    world.write(1);
    world.pass(1);
    world.rotate(Rotation::Copytruncate);
    world.crash();
    world.start();
    world.pass(1);
    world.write(1);
    world.rotate(Rotation::Copytruncate);
    world.pass(1);
    world.write(1);
    world.rotate(Rotation::Copytruncate);
    world.write(1);
    world.deliver();
    world.check(0);
}
