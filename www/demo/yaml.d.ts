/** Policy files are bundled into the page as text. */
declare module '*.yaml' {
  const text: string;
  export default text;
}
