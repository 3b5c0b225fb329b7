//! Files from hosts other than the hub, such as data sets; no token is sent to these hosts.

use super::{
    Hub,
    wire::{self, HubFailure, HubResult, HubWire, origin},
};
use merge_core::error::{Error, Result};
use std::{io::Read as _, thread};
use ureq::http::StatusCode;

/// Number of retries of a broken download.
const RETRIES: u32 = 3;
const FROM_HINT: &str = "`--from DIR` takes the files from a directory, if you have them from elsewhere";

impl Hub {
    /// Downloads the file at an address; fails if it has more than `most` bytes.
    pub(crate) fn download_other(&self, address: &str, most: u64) -> Result<Vec<u8>> {
        let Some((scheme, host, port)) = origin(address) else {
            return Err(Error::user(format!("{address} is no address")).hint("it begins with https:// or http://"));
        };
        let wire = HubWire::new(&format!("{scheme}://{host}:{port}"), None, self.certificates.as_deref())?;
        let mut tries = 0;
        loop {
            match once(&wire, address, most) {
                Ok(bytes) => return Ok(bytes),
                Err(HubFailure::Lasting(error)) => return Err(error.hint(FROM_HINT)),
                Err(HubFailure::Passing(error)) if tries == RETRIES => return Err(error.hint(FROM_HINT)),
                Err(HubFailure::Passing(_)) => {
                    thread::sleep(self.pause * 2u32.pow(tries));
                    tries += 1;
                }
            }
        }
    }
}

fn once(wire: &HubWire, address: &str, most: u64) -> HubResult<Vec<u8>> {
    let mut answer = wire.get(address, 0)?;
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(HubFailure::Passing(Error::machine(format!("{address}: the answer is {status}"))));
        }
        status => return Err(HubFailure::Lasting(Error::user(format!("{address}: the answer is {status}")))),
    }
    let mut bytes = Vec::new();
    let body = answer.body_mut().as_reader();
    // One byte more shows that the file is too long.
    body.take(most + 1).read_to_end(&mut bytes).map_err(|e| wire::broken(address, &e))?;
    if bytes.len() as u64 > most {
        return Err(HubFailure::Lasting(Error::user(format!(
            "{address}: more arrives than the {most} bytes that are known"
        ))));
    }
    Ok(bytes)
}
