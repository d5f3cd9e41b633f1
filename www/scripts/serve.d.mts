/** Types of `serve.mjs`, for the tests. */

export interface ServeOptions {
  /** Default: `dist/demo`. */
  root?: string;
  /** Default 0: a free one. */
  port?: number;
  /** Fields (lower-case names) that add to the defaults or replace them; `undefined` leaves one out. */
  headers?: Record<string, string | undefined>;
}

export interface Served {
  url: string;
  close(): Promise<void>;
}

export declare const CONTENT_SECURITY_POLICY: string;
export declare function serve(options?: ServeOptions): Promise<Served>;
