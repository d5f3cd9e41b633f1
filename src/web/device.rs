//! The device of this build: the CPU, or the GPU that the browser gives, and whether it is still there.

use burn::tensor::Device;

use crate::error::Result;

#[cfg(not(feature = "webgpu"))]
pub async fn open() -> Result<Device> {
    Ok(Device::flex())
}

/// # Errors
/// None: a CPU is not lost.
#[cfg(not(feature = "webgpu"))]
pub fn alive() -> Result<()> {
    Ok(())
}

#[cfg(feature = "webgpu")]
pub use gpu::{alive, open};

#[cfg(feature = "webgpu")]
mod gpu {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Device, Result};
    use crate::error::Error;

    /// An instance has one GPU device: after a loss it is thrown away with all that it holds.
    static LOST: AtomicBool = AtomicBool::new(false);

    /// # Errors
    /// [`Error::Unsupported`] if there is no adapter, or it gives no device.
    pub async fn open() -> Result<Device> {
        let opened = Device::wgpu_options().init_with_setup_async().await;
        let (device, setup) = opened.map_err(|error| Error::Unsupported(format!("WebGPU: {error:?}")))?;
        setup.device.set_device_lost_callback(|_, _| LOST.store(true, Ordering::Relaxed));
        Ok(device)
    }

    /// What is read from a lost device may look like numbers, so its loss is asked for before anything is believed.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] once it is lost.
    pub fn alive() -> Result<()> {
        match LOST.load(Ordering::Relaxed) {
            true => Err(Error::DeviceLost("the browser took the GPU device away; check again".into())),
            false => Ok(()),
        }
    }
}
