//! Keeps secrets unreadable at rest.
//!
//! What users wrote into options may hold passwords, and a job that is to resume by itself needs them. So texts
//! are stored encrypted (ChaCha20-Poly1305) with a key that lies in a file of its own, readable by the
//! owner only. Whoever has both files has the secrets; a copy of the database alone has none.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use shardlake_sql::diagnostic::{Code, Diagnostic};

const KEY_BYTES: usize = 32;

/// Encrypts and decrypts texts.
pub(crate) struct Seal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Seal {
    /// The seal whose key is in this file; the key is made if the file is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Diagnostic> {
        let random = SystemRandom::new();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => make_key(path, &random)?,
            Err(error) => return Err(unusable(path, &error.to_string())),
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes)
            .map_err(|_| unusable(path, "it does not hold 32 bytes"))?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// The text, sealed: the nonce and the ciphertext in base64.
    pub(crate) fn close(&self, text: &str) -> Result<String, Diagnostic> {
        let failed = || Diagnostic::internal("a text cannot be sealed");
        let mut nonce = [0_u8; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| failed())?;
        let mut bytes = text.as_bytes().to_vec();
        let tag = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(tag, Aad::empty(), &mut bytes).map_err(|_| failed())?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut bytes);
        Ok(BASE64.encode(sealed))
    }

    /// The text in a sealed one.
    pub(crate) fn read(&self, sealed: &str) -> Result<String, Diagnostic> {
        let damaged = || {
            Diagnostic::new(
                Code::CatalogAccess,
                "A stored definition cannot be decrypted: the database and its key do not belong \
                 together, or one of them is damaged.",
            )
            .with_hint("Restore server.db and server.key of the state directory together.")
        };
        let bytes = BASE64.decode(sealed).map_err(|_| damaged())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut rest = rest.to_vec();
        let text = self.key.open_in_place(nonce, Aad::empty(), &mut rest).map_err(|_| damaged())?;
        String::from_utf8(text.to_vec()).map_err(|_| damaged())
    }
}

/// Makes a key; a file that another process made at the same time wins.
fn make_key(path: &Path, random: &SystemRandom) -> Result<Vec<u8>, Diagnostic> {
    let mut key = vec![0_u8; KEY_BYTES];
    random.fill(&mut key).map_err(|_| unusable(path, "there is no randomness"))?;
    let failed = |error: std::io::Error| unusable(path, &error.to_string());
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let mut stored = Vec::new();
    fs::File::open(path).and_then(|mut file| file.read_to_end(&mut stored)).map_err(failed)?;
    Ok(stored)
}

fn unusable(path: &Path, reason: &str) -> Diagnostic {
    let message = format!("The key {} cannot be used: {reason}.", path.display());
    Diagnostic::new(Code::CatalogAccess, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_with_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let sealed = Seal::open(&path).unwrap().close("hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(Seal::open(&path).unwrap().read(&sealed).unwrap(), "hunter2");
        let other = Seal::open(&folder.path().join("other")).unwrap();
        assert!(other.read(&sealed).is_err());
        assert!(other.read("no base64 ?").is_err());
        assert!(other.read("").is_err());
    }
}
