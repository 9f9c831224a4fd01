//! The local socket: one request line in, answer lines out, all JSON. The kernel gives the peer's identity.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};

/// The errors of the local socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why it cannot listen.
        #[source]
        source: std::io::Error,
    },
    /// The other side sent something that is not one line of JSON within the bound.
    #[error("the peer sent no request line of at most {limit} bytes")]
    Line {
        /// Most bytes of a line.
        limit: usize,
        /// Why the line was refused.
        #[source]
        source: std::io::Error,
    },
    /// The other side is gone.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
}

/// A socket address of any length: the kernel takes 108 bytes, so the directory is named by its descriptor.
struct Address {
    path: PathBuf,
    _directory: OwnedFd,
}

fn address(path: &Path) -> std::io::Result<Address> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_CLOEXEC)
        .open(directory)?;
    let descriptor = OwnedFd::from(file);
    let mut short = OsString::from(format!("/proc/self/fd/{}/", descriptor.as_raw_fd()));
    short.push(path.file_name().unwrap_or_default());
    Ok(Address { path: short.into(), _directory: descriptor })
}

/// Listens on `path`. Its directory is made if it is missing. An existing socket is replaced: the caller holds the
/// state's lock, so no process listens on it. Every user may connect; the peer's uid decides what it may do.
///
/// # Errors
/// When the directory or the socket cannot be made.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let bind = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(address(path)?.path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    bind().map_err(|source| SocketError::Listen { path: path.to_owned(), source })
}

/// Removes the socket of a process that ends. The caller holds the state's lock, so no other process listens on it. One
/// that stays does no harm: the next process replaces it.
pub fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            log::debug!("{} is not removed: {error}", path.display());
        }
        _ => {}
    }
}

/// Connects to the daemon; `None` when no process listens.
pub async fn connect(path: &Path) -> Option<Connection> {
    let address = address(path).ok()?;
    let stream = UnixStream::connect(&address.path).await.ok()?;
    Connection::new(stream).ok()
}

/// The supplementary groups that the peer's process had when it connected (SO_PEERGROUPS in socket(7)): a service with
/// `SupplementaryGroups=` is in no user database.
#[allow(unsafe_code)]
fn supplementary_groups(stream: &UnixStream) -> std::io::Result<Vec<u32>> {
    let mut groups: Vec<nix::libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes = nix::libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
        // SAFETY: the pointer is to `bytes` bytes that are ours and may hold any value, and the kernel writes at most
        // that many.
        let result = unsafe {
            nix::libc::getsockopt(
                stream.as_raw_fd(),
                nix::libc::SOL_SOCKET,
                nix::libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(0) / size_of::<nix::libc::gid_t>();
        match nix::errno::Errno::result(result) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(nix::errno::Errno::ERANGE) if count > groups.len() => groups.resize(count, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// One conversation.
#[derive(Debug)]
pub struct Connection {
    peer: UCred,
    groups: Vec<u32>,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    /// Takes a stream that was accepted or connected.
    ///
    /// # Errors
    /// The kernel does not give the peer's credentials.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        let peer = stream.peer_cred()?;
        let groups = supplementary_groups(&stream)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { peer, groups, reader: BufReader::new(reader), writer })
    }

    /// The peer's user id.
    pub fn peer_uid(&self) -> u32 {
        self.peer.uid()
    }

    /// Whether the peer's process had this group when it connected, as its primary or a supplementary group.
    pub fn peer_has_group(&self, gid: u32) -> bool {
        self.peer.gid() == gid || self.groups.contains(&gid)
    }

    /// The next line without its end; `None` at the end of the conversation.
    ///
    /// # Errors
    /// When the line is longer than `limit` bytes or the connection breaks.
    pub async fn read_line(&mut self, limit: usize) -> Result<Option<String>, SocketError> {
        let mut line = String::new();
        let bound = u64::try_from(limit).unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(bound).read_line(&mut line).await;
        let count = read.map_err(|source| SocketError::Line { limit, source })?;
        match (count, line.pop()) {
            (0, _) => Ok(None),
            (_, Some('\n')) => Ok(Some(line)),
            _ => Err(SocketError::Line { limit, source: std::io::ErrorKind::InvalidData.into() }),
        }
    }

    /// Sends one line; `line` holds no line end.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn write_line(&mut self, line: &str) -> Result<(), SocketError> {
        self.write(&format!("{line}\n")).await
    }

    /// Sends text as it is.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn write(&mut self, text: &str) -> Result<(), SocketError> {
        self.writer.write_all(text.as_bytes()).await.map_err(SocketError::Broken)
    }
}
