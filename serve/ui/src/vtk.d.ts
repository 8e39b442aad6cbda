// vtk.js ships no types for this filter.
declare module "@kitware/vtk.js/Filters/General/ImageMarchingCubes" {
  import type vtkPolyData from "@kitware/vtk.js/Common/DataModel/PolyData";
  import type vtkImageData from "@kitware/vtk.js/Common/DataModel/ImageData";
  interface ImageMarchingCubes {
    setInputData(image: vtkImageData): void;
    getOutputData(): vtkPolyData;
  }
  const out: {
    newInstance(options: { contourValue: number; computeNormals: boolean; mergePoints: boolean }): ImageMarchingCubes;
  };
  export default out;
}
