/** The model rsafe-mini, which `createGuard` of `rsafe` takes by itself where it finds this package, or as its `model`. */
declare const mini: {
  /** What the model is kept under on a visitor's machine. */
  readonly name: string;
  /** The text of the bundle's manifest. */
  readonly manifest: string;
  /** The addresses of the files that the manifest lists. */
  readonly files: { readonly [name: string]: string };
};
export default mini;
