//! The framework's required permissions.
//!
//! Owns: their names. Does not know: what belongs to them, or who has them (`doctor`).

use serde::Serialize;

/// The framework's required permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// The state directory, and what tasks do in it.
    BuildDirectoryAccess,
    /// Getting sources, and merging archives into the sysroot.
    PackageManagement,
    /// What limits tasks, and keeps them in.
    ResourceControl,
    /// What tasks print, the journal, the kernel's log.
    LogManagement,
    /// What of the host itself is used: mounts, sockets.
    SystemConfiguration,
}

/// The framework's five, in its order.
pub const PERMISSIONS: [Permission; 5] = [
    Permission::BuildDirectoryAccess,
    Permission::PackageManagement,
    Permission::ResourceControl,
    Permission::LogManagement,
    Permission::SystemConfiguration,
];

impl Permission {
    /// As metrics and documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildDirectoryAccess => "build_directory_access",
            Self::PackageManagement => "package_management",
            Self::ResourceControl => "resource_control",
            Self::LogManagement => "log_management",
            Self::SystemConfiguration => "system_configuration",
        }
    }
}
