/** SHA-256 where the platform has it. Insecure pages do not; the core checks every file again in any case. */

/** 64 lower-case hexadecimal digits, or `undefined` where there is no `crypto.subtle`. */
export async function sha256(bytes: Uint8Array): Promise<string | undefined> {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle) return undefined;
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Whether the bytes are the ones promised, as far as can be told here. */
export async function matches(bytes: Uint8Array, promised: string): Promise<boolean> {
  const found = await sha256(bytes);
  return found === undefined || found === promised;
}
